// The keyring: what stands in the store in the place of secrets, and who can read it.
import assert from 'node:assert/strict'
import { createCipheriv, hkdfSync } from 'node:crypto'
import fc from 'fast-check'
import { type Format, Keyring } from '../../core/keyring.ts'
import { type Plugin, plugin } from '../../core/plugin.ts'
import type { Entry } from '../../core/secrets/secret-places.ts'
import type { Kind } from '../../core/store/store.ts'

const vault = plugin({
  name: 'vault',
  priority: 1,
  version: 1,
  schema: { type: 'object' },
  encrypt: ['key', 'auth.header', 'auth.query', 'servers.password', 'list', 'either.inner', 'either'],
  setup: () => ({}),
})
const plugins: ReadonlyMap<string, Plugin> = new Map([['vault', vault]])

const key16 = '0123456789abcdef'
const key32 = '0123456789abcdef0123456789ABCDEF'
const pem = '-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n'

const entry = (value: Record<string, unknown>, kind: Kind = 'routes', id = '1'): Entry => ({ kind, id, value })
const route = (config: unknown) => entry({ id: '1', uri: '/secret', plugins: { vault: config } })
// biome-ignore lint/suspicious/noExplicitAny: tests look into any config
const configOf = (value: Record<string, unknown>) => (value.plugins as any).vault

const seal = (keys: readonly string[], config: unknown, format?: Format) =>
  configOf(new Keyring(keys, format).sealItem(route(config), plugins))
const open = (keys: readonly string[], config: unknown) => new Keyring(keys).openItem(route(config), plugins)
const clear = (keys: readonly string[], config: unknown) => configOf(open(keys, config).value)

/** What APISIX writes: AES-CBC with the key as IV. */
function compat(key: string, text: string): string {
  const cipher = createCipheriv(`aes-${key.length * 8}-cbc`, key, key.slice(0, 16))
  return Buffer.concat([cipher.update(text), cipher.final()]).toString('base64')
}

describe('keyring', () => {
  it('encrypts every string at the paths of a plugin, through lists and maps, and nothing else', () => {
    const config = {
      key: 'k',
      auth: { header: { Authorization: 'Bearer x', query: 'z', deep: { list: ['y', 1, null] } }, user: 'clear' },
      servers: [{ password: 'a', host: 'clear' }, { password: 'b' }],
      list: ['p', 'q'],
      plain: { key: 'clear' },
    }
    const text = JSON.stringify(seal([key16], config))
    assert.equal(text.match(/"v2:/g)?.length, 8)
    for (const secret of ['"k"', 'Bearer', '"y"', '"z"', '"a"', '"b"', '"p"', '"q"'])
      assert.ok(!text.includes(secret), secret)
    assert.equal(text.match(/"clear"/g)?.length, 3)
    assert.deepEqual(clear([key16], JSON.parse(text)), config)
  })

  it('finds a path behind a map whose names it cannot know', () => {
    const servers = { first: { password: 'a' }, second: { password: 'b' } }
    const sealed = seal([key16], { servers })
    assert.ok(!JSON.stringify(sealed).includes('"a"'))
    assert.deepEqual(clear([key16], sealed), { servers })
  })

  it('encrypts a text once, also where two paths lead to it', () => {
    const header = { query: 'q' }
    assert.deepEqual(seal([key16], { auth: { header } }, 'compat'), { auth: { header: { query: compat(key16, 'q') } } })
  })

  it('encrypts a text at the end of a path that another path leads through', () => {
    assert.deepEqual(seal([key16], { either: 'e' }, 'compat'), { either: compat(key16, 'e') })
  })

  it('encrypts what consumers, credentials and plugin metadata hold', () => {
    const ring = new Keyring([key16])
    const items = [
      entry({ username: 'jack', plugins: { vault: { key: 'hush' } } }, 'consumers', 'jack'),
      entry({ id: 'c1', plugins: { vault: { key: 'hush' } } }, 'consumers', 'jack/credentials/c1'),
      entry({ id: 'vault', key: 'hush', servers: { password: 'hush' }, other: 1 }, 'plugin_metadata', 'vault'),
    ]
    for (const item of items) {
      const value = ring.sealItem(item, plugins)
      assert.ok(!JSON.stringify(value).includes('hush'))
      assert.deepEqual(ring.openItem({ ...item, value }, plugins), { value: item.value, locked: [], stale: [] })
    }
  })

  it('changes nothing of what it is given', () => {
    const item = route({ key: 'k' })
    const ring = new Keyring([key16])
    ring.sealItem(item, plugins)
    ring.maskItem(item, plugins)
    ring.openItem(item, plugins)
    assert.deepEqual(item, route({ key: 'k' }))
  })

  it('leaves secret references alone', () => {
    const config = { key: '$secret://vault/1/jack/key', list: ['$ENV://KEY'] }
    assert.deepEqual(seal([key16], config), config)
    const { value, locked, stale } = open([key16], config)
    assert.deepEqual([configOf(value), locked, stale], [config, [], []])
  })

  it('without keys leaves everything in clear, and takes what is encrypted for no secret', () => {
    assert.deepEqual(seal([], { key: 'k' }), { key: 'k' })
    assert.deepEqual(open([], { key: 'k' }), { value: route({ key: 'k' }).value, locked: [], stale: [] })
    assert.deepEqual(open([], seal([key16], { key: 'k' })).locked, ['plugins.vault.key'])
  })

  it('gives back what it has encrypted, whatever it was, in either format and any order of the keys', () => {
    const formats = fc.constantFrom<Format>('compat', 'v2')
    const rings = fc.shuffledSubarray([key16, key32, 'another sixteen!', 'z'.repeat(32)], { minLength: 1 })
    fc.assert(
      fc.property(
        fc.jsonValue({ maxDepth: 4 }),
        fc.string({ unit: 'binary' }),
        formats,
        rings.chain(ring => fc.tuple(fc.constant(ring), fc.shuffledSubarray(ring, { minLength: ring.length }))),
        (json, text, format, [ring, again]) => {
          const config = { key: json, auth: { header: text.toWellFormed() }, servers: json }
          const value = JSON.parse(JSON.stringify(config)) as unknown
          assert.deepEqual(clear(again, seal(ring, value, format)), value)
        },
      ),
      { numRuns: 300, seed: 20_261_120 },
    )
  })

  describe('in v2', () => {
    it('writes equal secrets differently, with a nonce of 12 bytes and a tag of 16', () => {
      const [one, two] = [seal([key16], { key: 'four' }).key, seal([key16], { key: 'four' }).key] as [string, string]
      assert.notEqual(one, two)
      assert.match(one, /^v2:[A-Za-z0-9+/]+=*$/)
      assert.equal(Buffer.from(one.slice(3), 'base64').length, 12 + 4 + 16)
    })

    it('binds a secret to its item and its field, not to its position in a list', () => {
      const ring = new Keyring([key16])
      const { key, list } = seal([key16], { key: 'k', list: ['p', 'q'] })
      const lockedIn = (config: unknown, kind: Kind, id: string) =>
        ring.openItem(entry({ plugins: { vault: config } }, kind, id), plugins).locked
      assert.deepEqual(lockedIn({ key }, 'routes', '1'), [])
      assert.deepEqual(lockedIn({ key }, 'routes', '2'), ['plugins.vault.key'])
      assert.deepEqual(lockedIn({ key }, 'services', '1'), ['plugins.vault.key'])
      assert.deepEqual(lockedIn({ auth: { header: { key } } }, 'routes', '1'), ['plugins.vault.auth.header.key'])
      assert.deepEqual(clear([key16], { list: list.toReversed() }), { list: ['q', 'p'] })
    })

    it('notices a single changed character', () => {
      const { key } = seal([key16], { key: 'k' }) as { key: string }
      const bytes = (text: string) => Buffer.from(text.slice(3), 'base64')
      for (let at = 3; at < key.length; at++) {
        const flipped = key.slice(0, at) + (key[at] === 'A' ? 'B' : 'A') + key.slice(at + 1)
        // Of the last character base64 does not use every bit.
        if (bytes(flipped).equals(bytes(key))) continue
        assert.notEqual(clear([key16], { key: flipped }).key, 'k', flipped)
      }
    })

    it('reads what was written before it was bound to a place', () => {
      const key = Buffer.from(hkdfSync('sha256', key16, '', 'sluice encryption at rest v2', 32))
      const nonce = Buffer.alloc(12, 7)
      const cipher = createCipheriv('aes-256-gcm', key, nonce)
      const bytes = Buffer.concat([nonce, cipher.update('k'), cipher.final(), cipher.getAuthTag()])
      const { value, stale } = open([key16], { key: `v2:${bytes.toString('base64')}` })
      assert.deepEqual([configOf(value), stale.length], [{ key: 'k' }, 1])
    })
  })

  describe('in compat', () => {
    it('writes and reads what APISIX does, with keys of 16 and 32 characters', () => {
      for (const key of [key16, key32]) {
        for (const text of ['k', '', 'exactly sixteen!', 'schön 😀']) {
          assert.deepEqual(seal([key, 'another sixteen!'], { key: text }, 'compat'), { key: compat(key, text) })
          assert.deepEqual(clear(['another sixteen!', key], { key: compat(key, text) }), { key: text })
        }
      }
    })

    it('is read beside v2', () => {
      const both = { key: compat(key16, 'one'), list: seal([key16], { list: ['two'] }).list }
      assert.deepEqual(clear([key16], both), { key: 'one', list: ['two'] })
    })
  })

  describe('when keys change', () => {
    it('reads with every key and writes with the first, and says what is still of an old one', () => {
      const old = seal([key32], { key: 'k' })
      const { value, stale } = open([key16, key32], old)
      assert.deepEqual(configOf(value), { key: 'k' })
      assert.deepEqual(stale, [
        'plugins.vault.key is encrypted with an old key or in another format until the next write',
      ])
      const ring = new Keyring([key16, key32])
      const renewed = configOf(ring.sealItem(route(configOf(value)), plugins, route(old)))
      assert.deepEqual(open([key16], renewed), { value: route({ key: 'k' }).value, locked: [], stale: [] })
    })

    it('takes the other format for old, too', () => {
      assert.equal(open([key16], { key: compat(key16, 'k') }).stale.length, 1)
    })

    it('keeps what no key opens as it is over writes, until its key is back', () => {
      for (const format of ['compat', 'v2'] as const) {
        const stored = route(seal([key32], { key: 'k', list: ['p', 'q'] }, format))
        const ring = new Keyring([key16], format)
        const { value, locked } = ring.openItem(stored, plugins)
        assert.deepEqual(locked, ['plugins.vault.key', 'plugins.vault.list', 'plugins.vault.list'])
        // Positions change, and one secret is given anew.
        const { list } = configOf(value)
        const sent = { key: 'new', list: [list[1], list[0]] }
        const submitted = ring.submitted(route(sent), plugins, stored)
        assert.equal(submitted.problem, undefined)
        const written = configOf(ring.sealItem({ ...stored, value: submitted.value }, plugins, stored))
        assert.deepEqual(clear([key16, key32], written), { key: 'new', list: ['q', 'p'] })
        assert.deepEqual(written.list, [list[1], list[0]])
      }
    })
  })

  describe('of what it cannot decrypt', () => {
    const ciphertexts = () => [
      seal([key16], { key: 'k' }).key as string,
      compat(key16, 'k'),
      compat(key16, 'some longer secret, of three blocks'),
    ]

    it('says that ciphertext is no secret, and where it stands', () => {
      for (const text of ciphertexts()) {
        assert.deepEqual(open([key32], { key: text }).locked, ['plugins.vault.key'])
        assert.equal(clear([key32], { key: text }).key, text)
      }
    })

    it('uses what was never encrypted as it is, and says that it stands in clear', () => {
      const hexadecimal = '5f'.repeat(32)
      for (const text of ['plain', '', 'v2:', 'v2:AAAA', 'sk-1234567890', hexadecimal, 'Bearer abcdefgh']) {
        const { value, locked, stale } = open([key32], { key: text })
        assert.deepEqual([configOf(value), locked], [{ key: text }, []])
        assert.deepEqual(stale, ['plugins.vault.key is stored in clear until the next write'])
      }
    })
  })

  describe('of private keys', () => {
    const items: Entry[] = [
      entry({ id: '1', key: pem, keys: [pem, pem], cert: pem, client: { ca: pem }, labels: { key: pem } }, 'ssls'),
      entry({ id: '1', tls: { client_key: pem, client_cert: pem }, nodes: {} }, 'upstreams'),
      entry({ id: '1', upstream: { tls: { client_key: pem, client_cert: pem } } }, 'routes'),
      entry({ id: '1', upstream: { tls: { client_key: pem, client_cert: pem } } }, 'services'),
    ]
    const count = (value: unknown, text: string) => JSON.stringify(value).split(JSON.stringify(text)).length - 1

    for (const format of ['compat', 'v2'] as const) {
      it(`encrypts those and nothing beside them, as ${format}`, () => {
        const ring = new Keyring([key32], format)
        for (const item of items) {
          const keys = item.kind === 'ssls' ? 3 : 1
          const sealed = { ...item, value: ring.sealItem(item, plugins) }
          assert.equal(count(item.value, pem) - count(sealed.value, pem), keys, item.kind)
          assert.deepEqual(ring.openItem(sealed, plugins), { value: item.value, locked: [], stale: [] })
          assert.equal(count(ring.maskItem(sealed, plugins), '***'), keys)
          // A client may send back what an answer has shown.
          assert.deepEqual(ring.submitted(sealed, plugins), { value: item.value, problem: undefined })
        }
      })
    }

    it('takes PEM for clear, and anything else that no key opens for ciphertext', () => {
      const ring = new Keyring([key32])
      for (const item of items) assert.deepEqual(ring.openItem(item, plugins).locked, [])
      assert.deepEqual(ring.openItem(entry({ id: '1', key: 'lost' }, 'ssls'), plugins).locked, ['key'])
    })
  })

  describe('for eyes that may not see secrets', () => {
    const masked = (item: Entry) => new Keyring([key16]).maskItem(item, plugins)

    it('masks them, whatever they are', () => {
      const config = {
        key: 7,
        auth: { header: { a: 'b', c: '$env://X' }, user: 'u' },
        list: [true, null],
        servers: 'x',
      }
      assert.deepEqual(configOf(masked(route(config))), {
        key: '***',
        auth: { header: { a: '***', c: '$env://X' }, user: 'u' },
        list: ['***', null],
        servers: '***',
      })
    })

    it('masks what stands in the place of a configuration', () => {
      assert.equal(configOf(masked(route('a secret in the wrong place'))), '***')
    })

    it('masks everything that is configured for a plugin that it does not know', () => {
      const value = { id: '1', uri: '/a', plugins: { strange: { 'a.b': 'x', deep: [{ c: 1 }] } } }
      assert.deepEqual(masked(entry(value)).plugins, { strange: { 'a.b': '***', deep: [{ c: '***' }] } })
      const metadata = entry({ id: 'strange', a: 'x' }, 'plugin_metadata', 'strange')
      assert.deepEqual(masked(metadata), { id: 'strange', a: '***' })
    })

    it('masks what opens a secret manager, which is stored as APISIX reads it', () => {
      const item = entry({ uri: 'http://v', prefix: 'p', token: 'root' }, 'secrets', 'vault/1')
      assert.deepEqual(masked(item), { uri: 'http://v', prefix: 'p', token: '***' })
      assert.deepEqual(new Keyring([key16]).sealItem(item, plugins), item.value)
    })
  })

  describe('of a mask that is sent back', () => {
    const ring = new Keyring([key16])
    const named = (name: string, secret: string) => ({ name, password: secret })
    const sent = (config: unknown, before?: unknown) =>
      ring.submitted(route(config), plugins, before === undefined ? undefined : route(seal([key16], before)))

    it('puts the secret in its place that it stands for', () => {
      const before = { key: 'k', auth: { header: { a: 'b' } }, list: ['p', 'q'] }
      const { value, problem } = sent(
        { key: '***', auth: { header: { a: '***', x: 'new' } }, list: ['***', '***'] },
        before,
      )
      assert.equal(problem, undefined)
      assert.deepEqual(configOf(value), { ...before, auth: { header: { a: 'b', x: 'new' } } })
    })

    it('follows the names of what is in a list, so that nobody gets the secret of another', () => {
      const before = { servers: [named('a', '1'), named('b', '2')] }
      const { value } = sent({ servers: [named('b', '***'), named('c', '3'), named('a', '***')] }, before)
      assert.deepEqual(configOf(value).servers, [named('b', '2'), named('c', '3'), named('a', '1')])
    })

    it('stands for what opens a secret manager, too', () => {
      const item = entry({ uri: 'http://v', token: '***' }, 'secrets', 'vault/1')
      const { value } = ring.submitted(item, plugins, { ...item, value: { token: 'root' } })
      assert.deepEqual(value, { uri: 'http://v', token: 'root' })
    })

    it('says so where it stands for nothing', () => {
      const mask = 'is a mask, and there is no secret that it stands for'
      assert.equal(sent({ key: '***' }).problem, `plugins.vault.key ${mask}`)
      assert.equal(sent({ key: '***' }, { list: ['p'] }).problem, `plugins.vault.key ${mask}`)
      assert.equal(sent({ list: ['***'] }, { list: ['p', 'q'] }).problem, `plugins.vault.list ${mask}`)
      const before = { servers: [named('a', '1')] }
      assert.equal(sent({ servers: [named('b', '***')] }, before).problem, `plugins.vault.servers.password ${mask}`)
    })

    it('says so of ciphertext that no key opens, and opens what one does', () => {
      const foreign = seal([key32], { key: 'k' })
      assert.equal(sent(foreign).problem, 'plugins.vault.key is encrypted, and no key opens it here')
      assert.deepEqual(sent(seal([key16], { key: 'k' })), { value: route({ key: 'k' }).value, problem: undefined })
    })
  })
})
