// Names by DNS: what is asked, how long an answer holds, and what is true while nobody answers.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silent } from '../../../../core/observe/log.ts'
import { Resolver, type ResolverOptions } from '../../../../core/proxy/dns/resolver.ts'
import { type DnsServer, startDnsServer } from '../../../helpers/dns-server.ts'
import { until } from '../../../helpers/until.ts'

describe('a name', () => {
  let folder: string
  let server: DnsServer
  let clock: number
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'sluice-dns-'))
    writeFileSync(join(folder, 'hosts'), '10.9.9.9 listed.test\n')
    writeFileSync(join(folder, 'resolv.conf'), 'search inner.test\noptions ndots:1\n')
    server = await startDnsServer({
      'one.test': [{ type: 'A', address: '10.0.0.1', ttl: 60 }],
      'many.test': ['10.0.0.3', '10.0.0.1', '10.0.0.2'].map(address => ({ type: 'A' as const, address, ttl: 300 })),
      'both.test': [
        { type: 'AAAA', address: 'fd00::1' },
        { type: 'A', address: '10.0.0.1' },
      ],
      'six.test': [{ type: 'AAAA', address: 'fd00::1' }],
      'alias.test': [{ type: 'CNAME', name: 'one.test', ttl: 10 }],
      'short.inner.test': [{ type: 'A', address: '10.0.0.7' }],
      'empty.test': [],
      'srv.test': [
        { type: 'SRV', name: 'one.test', port: 8080, priority: 1, weight: 5 },
        { type: 'SRV', name: 'many.test', port: 8081, priority: 2, weight: 0 },
      ],
    })
    clock = 1_000_000
  })
  afterEach(async () => {
    await server.close()
    rmSync(folder, { recursive: true })
  })

  const resolver = (given: Partial<ResolverOptions> = {}) =>
    new Resolver({
      servers: [server.address],
      validMs: 0,
      timeoutMs: 5_000,
      search: true,
      ipv6: true,
      now: () => clock,
      log: silent,
      hostsFile: join(folder, 'hosts'),
      resolvFile: join(folder, 'resolv.conf'),
      ...given,
    })
  const found = async (name: string, given: Partial<ResolverOptions> = {}) =>
    (await resolver(given).addresses(name)).found

  it('has the addresses that its records say, in one order', async () => {
    assert.deepEqual(await found('one.test'), ['10.0.0.1'])
    assert.deepEqual(await found('MANY.test'), ['10.0.0.1', '10.0.0.2', '10.0.0.3'])
    assert.deepEqual(await found('alias.test'), ['10.0.0.1'])
  })

  it('has IPv6 addresses only when it has no others, and when they are wanted', async () => {
    assert.deepEqual(await found('both.test'), ['10.0.0.1'])
    assert.deepEqual(await found('six.test'), ['fd00::1'])
    assert.deepEqual(await found('six.test', { ipv6: false }), [])
  })

  it('of the hosts file is asked for nowhere', async () => {
    assert.deepEqual(await found('Listed.test'), ['10.9.9.9'])
    assert.deepEqual(await found('localhost'), ['127.0.0.1'])
    assert.deepEqual(server.asked, [])
  })

  it('that is not complete is looked for in the search domains, unless it ends with a dot or nobody shall', async () => {
    assert.deepEqual(await found('short'), ['10.0.0.7'])
    assert.deepEqual(await found('short.'), [])
    assert.deepEqual(await found('short', { search: false }), [])
    assert.deepEqual(server.asked, ['A short.inner.test', 'A short', 'AAAA short', 'A short', 'AAAA short'])
  })

  it('that does not exist has no addresses, and is asked for again only after a while', async () => {
    const own = resolver({ search: false })
    assert.deepEqual((await own.addresses('none.test')).found, [])
    assert.deepEqual((await own.addresses('empty.test')).found, [])
    const { length } = server.asked
    await own.addresses('none.test')
    assert.equal(server.asked.length, length)
    clock += 5_001
    await own.addresses('none.test')
    assert.ok(server.asked.length > length)
  })

  it('is known as long as its shortest record says, and asked for once by all who want it', async () => {
    const own = resolver()
    const answers = await Promise.all([1, 2, 3].map(() => own.addresses('alias.test')))
    assert.equal(answers[0]!.until, clock + 8_000)
    assert.equal(server.asked.length, 1)
    clock += 7_999
    assert.ok(!(own.addresses('alias.test') instanceof Promise))
    assert.equal(server.asked.length, 1)
    clock += 2_001
    assert.ok(own.addresses('alias.test') instanceof Promise)
    await own.addresses('alias.test')
    assert.equal(server.asked.length, 2)
  })

  it('is known as long as the configuration says, if it says anything', async () => {
    const own = resolver({ validMs: 1_000 })
    await own.addresses('one.test')
    clock += 1_001
    server.zone['one.test'] = [{ type: 'A', address: '10.0.0.2' }]
    assert.deepEqual((await own.addresses('one.test')).found, ['10.0.0.2'])
  })

  it('is known for a second at least', async () => {
    server.zone['one.test'] = [{ type: 'A', address: '10.0.0.1', ttl: 0 }]
    const own = resolver()
    await own.addresses('one.test')
    clock += 700
    assert.ok(!(own.addresses('one.test') instanceof Promise))
    clock += 301
    assert.ok(own.addresses('one.test') instanceof Promise)
    await own.addresses('one.test')
  })

  it('that is in use is renewed before it runs out, while nobody waits', async () => {
    const own = resolver()
    await own.addresses('one.test')
    server.zone['one.test'] = [{ type: 'A', address: '10.0.0.2', ttl: 60 }]
    clock += 50_000
    const meanwhile = own.addresses('one.test')
    assert.ok(!(meanwhile instanceof Promise))
    assert.deepEqual(meanwhile.found, ['10.0.0.1'])
    await until(async () => (await own.addresses('one.test')).found[0] === '10.0.0.2', 'the new address is known')
    assert.equal(server.asked.length, 2)
  })

  for (const failing of ['servfail', 'silent'] as const) {
    it(`keeps its addresses while its server is ${failing}, and has none that it never had`, async () => {
      const own = resolver({ timeoutMs: 200 })
      await own.addresses('one.test')
      server.failing = failing
      clock += 60_001
      server.zone['one.test'] = [{ type: 'A', address: '10.0.0.2' }]
      assert.deepEqual((await own.addresses('one.test')).found, ['10.0.0.1'])
      assert.deepEqual((await own.addresses('many.test')).found, [])
      server.failing = undefined
      clock += 1_001
      assert.deepEqual((await own.addresses('one.test')).found, ['10.0.0.2'])
      assert.equal((await own.addresses('many.test')).found.length, 3)
    })
  }

  it('that is gone loses the addresses it had', async () => {
    const own = resolver()
    await own.addresses('one.test')
    delete server.zone['one.test']
    clock += 60_001
    assert.deepEqual((await own.addresses('one.test')).found, [])
  })

  it('of a service has its places', async () => {
    assert.deepEqual((await resolver().services('srv.test')).found, [
      { name: 'one.test', port: 8080, priority: 1, weight: 5 },
      { name: 'many.test', port: 8081, priority: 2, weight: 0 },
    ])
    assert.deepEqual((await resolver().services('one.test')).found, [])
  })
})
