// Secret references through the front door: what plugins and consumers get in their place, and what happens while that is not known.
import assert from 'node:assert/strict'
import { plugin } from '../core/plugin.ts'
import { reply } from '../core/reply.ts'
import { startGateway, type TestGateway } from './helpers/gateway.ts'
import { type Journal, openJournal } from './helpers/journal.ts'
import { until } from './helpers/until.ts'
import { type FakeVault, startVault } from './helpers/vault.ts'

/** Says what it was set up with. */
const teller = plugin({
  name: 'teller',
  priority: 1,
  version: 1,
  schema: {
    type: 'object',
    properties: { secret: { type: 'string', maxLength: 20 }, list: { type: 'array', items: { type: 'string' } } },
  },
  check: ({ secret }) => (secret?.includes('bad') ? `"${secret}" is bad` : undefined),
  setup: ({ secret, list }) => ({ access: () => reply(200, JSON.stringify([secret, ...(list ?? [])])) }),
})

describe('a secret reference', () => {
  let vault: FakeVault
  let gateway: TestGateway
  let journal: Journal

  beforeEach(async () => {
    vault = await startVault()
    journal = openJournal()
    gateway = await startGateway({
      plugins: [teller],
      log: journal.log,
      env: {
        KEY: 'from env',
        KEYS: '{"jack":"of jack","n":7}',
        BROKEN: '{',
        LONG: 'x'.repeat(21),
        BAD: 'bad word',
        TOKEN: 'root',
      },
      secrets: { lookEvery: 10, times: { keep: 20, keepNothing: 20, away: 20, wait: 500 } },
    })
  })
  afterEach(async () => {
    await gateway.close()
    await vault.close()
  })

  const route = (secret: string, more: object = {}) => ({
    routes: {
      1: { uri: '/*', plugins: { teller: { secret, ...more } } },
      other: { uri: '/other', plugins: { teller: {} } },
    },
  })
  const manager = (more: object = {}) => ({
    secrets: { 'vault/1': { id: 'vault/1', uri: vault.uri, prefix: 'kv/apisix', token: 'root', ...more } },
  })
  const get = async (headers: Record<string, string> = {}) => {
    const response = await fetch(gateway.url, { headers })
    return [response.status, await response.text()] as const
  }
  const told = async () => {
    const [status, body] = await get()
    return status === 200 ? (JSON.parse(body) as unknown[])[0] : status
  }
  const logged = () =>
    JSON.stringify(journal.lines.map(({ fields, message }) => [{ ...fields, err: String(fields.err) }, message]))

  it('stands for a variable of the environment, or a member of the JSON in it', async () => {
    for (const [reference, value] of [
      ['$env://KEY', 'from env'],
      ['$ENV://KEY', 'from env'],
      ['$env://KEYS/jack', 'of jack'],
      ['$env://KEYS/n', '7'],
    ] as const) {
      await gateway.put(route(reference, { list: ['a', reference] }))
      assert.deepEqual(await get(), [200, JSON.stringify([value, 'a', value])])
    }
  })

  it('that stands for nothing leaves its plugin unavailable, and nothing else', async () => {
    for (const reference of [
      '$env://NOBODY',
      '$env://toString',
      '$env://BROKEN/x',
      '$env://KEYS/jill',
      '$secret://vault/9/a/b',
    ]) {
      await gateway.put(route(reference))
      const [status, body] = await get()
      assert.deepEqual([status, JSON.parse(body).code], [503, 'plugin_unavailable'])
      assert.equal((await fetch(`${gateway.url}/other`)).status, 200)
    }
    assert.deepEqual(gateway.rejected, [])
    assert.ok(logged().includes('the secret that secret refers to is not known'))
  })

  it('whose value does not fit is not used, and the value is in no error', async () => {
    for (const reference of ['$env://LONG', '$env://BAD']) {
      await gateway.put(route(reference))
      assert.equal((await get())[0], 503)
    }
    assert.deepEqual(gateway.rejected, [])
    assert.ok(logged().includes('what the references of a plugin stand for does not fit'))
    assert.ok(!/xxxx|bad word/.test(logged()))
  })

  it('stands for what Vault keeps, as soon as its route is there', async () => {
    vault.secrets.set('kv/apisix/apps/one', { password: 'hush', n: 1 })
    await gateway.put(manager({ namespace: 'team' }))
    await gateway.put(route('$secret://vault/1/apps/one/password'))
    assert.equal(await told(), 'hush')
    assert.ok(vault.asked.every(path => path === 'team: kv/apisix/apps/one'))
    assert.ok(!logged().includes('hush'))
  })

  it('is followed: to another value, to none, to one again', async () => {
    vault.secrets.set('kv/apisix/a', { b: 'one' })
    await gateway.put({ ...manager({ token: '$env://TOKEN' }), ...route('$secret://vault/1/a/b') })
    assert.equal(await told(), 'one')
    vault.secrets.set('kv/apisix/a', { b: 'two' })
    await until(async () => (await told()) === 'two', 'the new value is used')
    vault.secrets.delete('kv/apisix/a')
    await until(async () => (await told()) === 503, 'the value that is gone is not used')
    vault.secrets.set('kv/apisix/a', { b: 'three' })
    await until(async () => (await told()) === 'three', 'the value that is back is used')
  })

  it('stands for the last value while Vault is away or refuses, and for none when the manager is deleted', async () => {
    vault.secrets.set('kv/apisix/a', { b: 'one' })
    await gateway.put({ ...manager(), ...route('$secret://vault/1/a/b') })
    for (const fault of [503, 403]) {
      vault.fault = fault
      const { length } = vault.asked
      await until(() => vault.asked.length > length + 2, 'it has been asked in vain')
      assert.equal(await told(), 'one')
    }
    assert.ok(logged().includes('a secret cannot be read'))
    assert.ok(!logged().includes('root'))
    vault.fault = undefined
    await gateway.put({ secrets: { 'vault/1': null } })
    await until(async () => (await told()) === 503, 'nothing is known without the manager')
    await gateway.put(manager())
    await until(async () => (await told()) === 'one', 'it is known again')
  })

  it('to a Vault that does not answer holds other changes up for a moment at most', async () => {
    vault.fault = 0
    await gateway.put(manager())
    const began = performance.now()
    await gateway.put(route('$secret://vault/1/a/b'))
    await gateway.put({ routes: { third: { uri: '/third', plugins: { teller: { secret: 'x' } } } } })
    assert.equal((await fetch(`${gateway.url}/third`)).status, 200)
    assert.ok(performance.now() - began < 20_000)
    assert.equal(await told(), 503)
  })

  it('to a manager that cannot be asked stands for nothing, and disturbs nobody', async () => {
    vault.secrets.set('kv/apisix/a', { b: 'one' })
    for (const more of [
      { uri: 'ftp://127.0.0.1' },
      { uri: 'http://127.0.0.1:99999' },
      { uri: 7 },
      { token: 'line\nfeed' },
    ]) {
      await gateway.put({ ...manager(more), ...route('$secret://vault/1/a/b') })
      assert.equal(await told(), 503)
      assert.equal((await fetch(`${gateway.url}/other`)).status, 200)
    }
    await gateway.put(manager())
    await until(async () => (await told()) === 'one', 'a good one is asked')
    await gateway.put(manager({ uri: 7 }))
    vault.secrets.set('kv/apisix/a', { b: 'two' })
    await until(async () => (await told()) === 'two', 'the last good one goes on')
    assert.ok(!/line/.test(logged()))
  })

  it('recognises a consumer and a credential by what it stands for, never by itself', async () => {
    vault.secrets.set('kv/apisix/jack', { key: 'k1' })
    const secret = '$secret://vault/1/jack/key'
    const keyed = (key: string) => ({ plugins: { 'key-auth': { key } } })
    await gateway.put({
      ...manager(),
      consumers: {
        jack: { username: 'jack', ...keyed(secret) },
        'jack/credentials/c': keyed('$env://KEYS/jack'),
        'jack/credentials/lost': keyed('$env://NOBODY'),
      },
      routes: { 1: { uri: '/*', plugins: { 'key-auth': {}, teller: { secret: 'in' } } } },
    })
    const statusFor = async (apikey: string) => (await get({ apikey }))[0]
    assert.deepEqual([await statusFor('k1'), await statusFor('of jack')], [200, 200])
    for (const key of [secret, '$env://KEYS/jack', '$env://NOBODY', '']) assert.equal(await statusFor(key), 401)
    vault.secrets.set('kv/apisix/jack', { key: 'k2' })
    await until(async () => (await statusFor('k2')) === 200, 'the new key is known')
    assert.equal(await statusFor('k1'), 401)
  })

  it('is resolved in global rules, services, plugin configs and groups, and closes nothing that does not need it', async () => {
    vault.secrets.set('kv/apisix/a', { b: 'one' })
    const uses = { plugins: { teller: { secret: '$secret://vault/1/a/b' } } }
    for (const resources of [
      { global_rules: { g: uses }, routes: { 1: { uri: '/*', plugins: {} } } },
      { global_rules: { g: null }, services: { s: uses }, routes: { 1: { uri: '/*', service_id: 's' } } },
      { plugin_configs: { p: uses }, routes: { 1: { uri: '/*', plugins: {}, plugin_config_id: 'p' } } },
    ]) {
      await gateway.put({ ...manager(), ...resources })
      assert.equal(await told(), 'one')
    }
  })
})
