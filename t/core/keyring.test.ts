// The keyring: what stands in the store in the place of secrets, and who can read it.
import assert from 'node:assert/strict'
import { createCipheriv } from 'node:crypto'
import fc from 'fast-check'
import { type Format, Keyring } from '../../core/keyring.ts'
import { type Plugin, plugin } from '../../core/plugin.ts'
import type { Kind } from '../../core/store/store.ts'

const vault = plugin({
  name: 'vault',
  priority: 1,
  version: 1,
  schema: { type: 'object' },
  encrypt: ['key', 'auth.header', 'servers.password', 'list'],
  setup: () => ({}),
})
const plugins: ReadonlyMap<string, Plugin> = new Map([['vault', vault]])

const key16 = '0123456789abcdef'
const key32 = '0123456789abcdef0123456789ABCDEF'

const route = (config: unknown) => ({ id: '1', uri: '/secret', plugins: { vault: config, other: { key: 'clear' } } })
const configOf = (value: Record<string, unknown>) => (value.plugins as Record<string, Record<string, unknown>>).vault!

function seal(keys: readonly string[], config: unknown) {
  return configOf(new Keyring(keys).sealItem('routes', route(config), plugins))
}

function open(keys: readonly string[], config: unknown, unreadable: (where: string) => void = () => {}) {
  return configOf(new Keyring(keys, unreadable).openItem('routes', route(config), plugins))
}

/** What APISIX writes: AES-CBC with the key as IV. */
function legacy(key: string, text: string): string {
  const cipher = createCipheriv(`aes-${key.length * 8}-cbc`, key, key.slice(0, 16))
  return Buffer.concat([cipher.update(text), cipher.final()]).toString('base64')
}

describe('keyring', () => {
  it('encrypts every string at the paths of a plugin, through lists and maps, and nothing else', () => {
    const config = {
      key: 'k',
      auth: { header: { Authorization: 'Bearer x', deep: { list: ['y', 1, null] } }, query: 'clear' },
      servers: [{ password: 'a', host: 'clear' }, { password: 'b' }],
      list: ['p', 'q'],
      plain: 'clear',
    }
    const sealed = new Keyring([key16]).sealItem('routes', route(config), plugins)
    const text = JSON.stringify(sealed)
    assert.equal(text.match(/"v2:/g)?.length, 7)
    for (const secret of ['"k"', 'Bearer', '"y"', '"a"', '"b"', '"p"', '"q"']) assert.ok(!text.includes(secret), secret)
    assert.equal(text.match(/"clear"/g)?.length, 4)
    assert.deepEqual(open([key16], configOf(sealed)), config)
  })

  it('finds a path behind a map whose names it cannot know', () => {
    const servers = { first: { password: 'a' }, second: { password: 'b' } }
    const sealed = seal([key16], { servers })
    assert.ok(!JSON.stringify(sealed).includes('"a"'))
    assert.deepEqual(open([key16], sealed), { servers })
  })

  it('changes nothing of what it is given', () => {
    const value = route({ key: 'k' })
    const ring = new Keyring([key16])
    ring.sealItem('routes', value, plugins)
    ring.maskItem('routes', value, plugins)
    ring.openItem('routes', value, plugins)
    assert.deepEqual(value, route({ key: 'k' }))
  })

  it('writes equal secrets differently, with a nonce of 12 bytes and a tag of 16', () => {
    const [one, two] = [seal([key16], { key: 'four' }).key, seal([key16], { key: 'four' }).key] as [string, string]
    assert.notEqual(one, two)
    assert.match(one, /^v2:[A-Za-z0-9+/]+=*$/)
    assert.equal(Buffer.from(one.slice(3), 'base64').length, 12 + 4 + 16)
  })

  it('reads with every key of the ring and writes with the first', () => {
    const old = seal([key32], { key: 'k' })
    assert.deepEqual(open([key16, key32], old), { key: 'k' })
    assert.deepEqual(open([key16], seal([key16, key32], { key: 'k' })), { key: 'k' })
  })

  it('reads what APISIX has written, with keys of 16 and 32 characters', () => {
    for (const key of [key16, key32]) {
      for (const text of ['k', '', 'exactly sixteen!', 'schön 😀']) {
        assert.deepEqual(open(['another sixteen!', key], { key: legacy(key, text) }), { key: text })
      }
    }
  })

  it('leaves what it cannot decrypt as it is and says where that stands, not what it is', () => {
    const sealed = seal([key16], { key: 'k' }).key as string
    const flipped = `${sealed.slice(0, -4)}${sealed.at(-4) === 'A' ? 'B' : 'A'}${sealed.slice(-3)}`
    for (const text of [sealed, flipped, 'v2:', 'v2:AAAA', 'plain', '', legacy(key16, 'k'), 'a'.repeat(64)]) {
      const said: string[] = []
      const keys = text === flipped ? [key16] : [key32]
      assert.deepEqual(
        open(keys, { key: text }, where => said.push(where)),
        { key: text },
      )
      assert.deepEqual(said, ['routes/1 vault.key'])
    }
  })

  it('leaves secret references alone', () => {
    const config = { key: '$secret://vault/1/jack/key', list: ['$ENV://KEY'] }
    const said: string[] = []
    assert.deepEqual(seal([key16], config), config)
    assert.deepEqual(
      open([key16], config, where => said.push(where)),
      config,
    )
    assert.deepEqual(said, [])
  })

  it('without keys leaves everything in clear', () => {
    assert.deepEqual(seal([], { key: 'k' }), { key: 'k' })
    assert.deepEqual(open([], { key: 'v2:AAAA' }), { key: 'v2:AAAA' })
  })

  it('masks secrets for eyes that may not see them', () => {
    const masked = new Keyring([key16]).maskItem('routes', route({ key: 'k', auth: { header: { a: 'b' } } }), plugins)
    assert.deepEqual(configOf(masked), { key: '***', auth: { header: { a: '***' } } })
    assert.deepEqual(masked.uri, '/secret')
  })

  it('gives back what it has encrypted, whatever it was, in either format', () => {
    const format = fc.constantFrom<Format>('compat', 'v2')
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), fc.string({ unit: 'binary' }), format, (json, text, format) => {
        const config = { key: json, auth: { header: text.toWellFormed() }, servers: json }
        const value = JSON.parse(JSON.stringify(config)) as unknown
        const sealed = new Keyring([key32], undefined, format).sealItem('routes', route(value), plugins)
        assert.deepEqual(open([key32], configOf(sealed)), value)
      }),
    )
  })

  it('writes what APISIX can read where that is asked for, and reads both', () => {
    for (const key of [key16, key32]) {
      const ring = new Keyring([key, 'another sixteen!'], undefined, 'compat')
      const sealed = ring.sealItem('routes', route({ key: 'four', list: ['schön'] }), plugins)
      assert.deepEqual(configOf(sealed), { key: legacy(key, 'four'), list: [legacy(key, 'schön')] })
      const both = { key: legacy(key, 'four'), list: [seal([key], { key: 'v' }).key] }
      assert.deepEqual(configOf(ring.openItem('routes', route(both), plugins)), { key: 'four', list: ['v'] })
    }
  })

  describe('of private keys', () => {
    const pem = '-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n'
    const items: [Kind, Record<string, unknown>][] = [
      ['ssls', { id: '1', key: pem, keys: [pem, pem], cert: pem, client: { ca: pem }, labels: { env: pem } }],
      ['upstreams', { id: '1', tls: { client_key: pem, client_cert: pem }, nodes: {} }],
      ['routes', { id: '1', upstream: { tls: { client_key: pem, client_cert: pem } } }],
      ['services', { id: '1', upstream: { tls: { client_key: pem, client_cert: pem } } }],
    ]
    const clear = (value: unknown) => JSON.stringify(value).split(JSON.stringify(pem)).length - 1

    for (const format of ['compat', 'v2'] as const) {
      it(`encrypts those and nothing beside them, as ${format}`, () => {
        const ring = new Keyring([key32], undefined, format)
        for (const [kind, value] of items) {
          const sealed = ring.sealItem(kind, value, plugins)
          assert.equal(clear(value) - clear(sealed), kind === 'ssls' ? 3 : 1, kind)
          assert.deepEqual(ring.openItem(kind, sealed, plugins), value)
          // What has come back from the store is not encrypted twice.
          assert.deepEqual(ring.sealItem(kind, sealed, plugins), sealed)
          const masked = ring.maskItem(kind, sealed, plugins)
          assert.equal(JSON.stringify(masked).split('"***"').length - 1, kind === 'ssls' ? 3 : 1)
        }
      })
    }

    it('takes for clear what is PEM text, and says nothing of it', () => {
      const said: string[] = []
      const ring = new Keyring([key32], where => said.push(where))
      for (const [kind, value] of items) assert.deepEqual(ring.openItem(kind, value, plugins), value)
      assert.deepEqual(said, [])
      ring.openItem('ssls', { id: '1', key: 'lost' }, plugins)
      assert.deepEqual(said, ['ssls/1 key'])
    })

    it('touches nothing of the same name elsewhere', () => {
      const value = { id: '1', labels: { key: 'k', keys: 'x' }, tls: { client_key: pem } }
      assert.deepEqual(new Keyring([key32]).sealItem('ssls', value, plugins), value)
      assert.deepEqual(new Keyring([key32]).maskItem('ssls', value, plugins), value)
    })
  })
})
