// Where nodes are: addresses as written, names and services by DNS, without what the guard denies.
import assert from 'node:assert/strict'
import { silent } from '../../../../core/observe/log.ts'
import { AddressGuard, DENIED_BY_DEFAULT } from '../../../../core/proxy/address-guard.ts'
import { discoveredNodes, listedNodes, type NodeSource } from '../../../../core/proxy/dns/node-source.ts'
import { Resolver } from '../../../../core/proxy/dns/resolver.ts'
import { type DnsServer, startDnsServer } from '../../../helpers/dns-server.ts'

describe('nodes', () => {
  let server: DnsServer
  let clock: number
  let denied: string[]
  beforeEach(async () => {
    server = await startDnsServer()
    clock = 1_000_000
    denied = []
  })
  afterEach(() => server.close())

  const env = () => ({
    resolver: new Resolver({
      servers: [server.address],
      validMs: 0,
      timeoutMs: 2_000,
      search: false,
      ipv6: true,
      now: () => clock,
      log: silent,
      hostsFile: '/nowhere',
    }),
    guard: new AddressGuard(DENIED_BY_DEFAULT),
    now: () => clock,
    denied: (name: string, address: string) => denied.push(`${name} ${address}`),
  })
  const written = (host: string, weight = 1, priority = 0) => ({ host, port: 80, weight, priority })
  const a = (...addresses: string[]) => addresses.map(address => ({ type: 'A' as const, address, ttl: 60 }))
  /** `host address:port weight priority` each. */
  async function list(source: NodeSource): Promise<string[]> {
    const { nodes } = await source.nodes()
    return nodes.map(({ host, address, port, weight, priority }) => `${host} ${address}:${port} ${weight} ${priority}`)
  }

  it('that are addresses are where they are, whatever the guard says, and nobody is asked', async () => {
    const source = listedNodes([written('10.0.0.1', 3, 7), written('169.254.169.254'), written('::1')], env())
    const located = source.nodes()
    assert.ok(!(located instanceof Promise))
    assert.deepEqual(await list(source), [
      '10.0.0.1 10.0.0.1:80 3 7',
      '169.254.169.254 169.254.169.254:80 1 0',
      '::1 ::1:80 1 0',
    ])
    assert.deepEqual([server.asked, denied], [[], []])
  })

  it('that are names are one for each address, which share their weight', async () => {
    server.zone['two.test'] = a('10.0.0.1', '10.0.0.2')
    server.zone['three.test'] = a('10.0.1.1', '10.0.1.2', '10.0.1.3')
    const nodes = [
      written('two.test', 1),
      written('10.9.9.9', 1),
      written('three.test', 2, -1),
      written('none.test', 5),
    ]
    assert.deepEqual(await list(listedNodes(nodes, env())), [
      'two.test 10.0.0.1:80 3 0',
      'two.test 10.0.0.2:80 3 0',
      '10.9.9.9 10.9.9.9:80 6 0',
      'three.test 10.0.1.1:80 4 -1',
      'three.test 10.0.1.2:80 4 -1',
      'three.test 10.0.1.3:80 4 -1',
    ])
    assert.deepEqual(await list(listedNodes([written('two.test', 0)], env())), [
      'two.test 10.0.0.1:80 0 0',
      'two.test 10.0.0.2:80 0 0',
    ])
  })

  it('are the same list until something has changed', async () => {
    server.zone['one.test'] = a('10.0.0.1', '10.0.0.2')
    const source = listedNodes([written('one.test')], env())
    const first = (await source.nodes()).nodes
    const now = source.nodes()
    assert.ok(!(now instanceof Promise) && now.nodes === first)
    clock += 60_001
    server.zone['one.test'] = a('10.0.0.2', '10.0.0.1')
    assert.equal((await source.nodes()).nodes, first)
    clock += 60_001
    server.zone['one.test'] = a('10.0.0.3')
    const [one, other] = await Promise.all([source.nodes(), source.nodes()])
    assert.deepEqual(
      one.nodes.map(({ address }) => address),
      ['10.0.0.3'],
    )
    assert.equal(one.nodes, other.nodes)
  })

  it('whose names lead to addresses of metadata services are passed over, and it is said', async () => {
    server.zone['mixed.test'] = a('169.254.169.254', '10.0.0.1')
    server.zone['evil.test'] = [{ type: 'AAAA', address: '::ffff:a9fe:a9fe' }]
    assert.deepEqual(await list(listedNodes([written('mixed.test')], env())), ['mixed.test 10.0.0.1:80 1 0'])
    const all = await listedNodes([written('evil.test')], env()).nodes()
    assert.deepEqual([all.nodes, all.denied], [[], true])
    assert.equal((await listedNodes([written('none.test')], env()).nodes()).denied, false)
    assert.equal(denied.length, 2)
    assert.equal(denied[0], 'mixed.test 169.254.169.254')
  })

  describe('of a service', () => {
    it('are where its SRV records say, the lower priority first', async () => {
      server.zone['one.test'] = a('10.0.0.1')
      server.zone['two.test'] = a('10.0.0.2', '10.0.0.3')
      server.zone['_http._tcp.svc.test'] = [
        { type: 'SRV', name: 'one.test', port: 8080, priority: 1, weight: 0 },
        { type: 'SRV', name: 'two.test', port: 0, priority: 2, weight: 6 },
        { type: 'SRV', name: 'none.test', port: 1, priority: 3, weight: 1 },
      ]
      assert.deepEqual(await list(discoveredNodes('_http._tcp.svc.test', 80, env())), [
        'one.test 10.0.0.1:8080 2 -1',
        'two.test 10.0.0.2:80 6 -2',
        'two.test 10.0.0.3:80 6 -2',
      ])
    })

    it('are its addresses when it has no such records, on the port of the scheme', async () => {
      server.zone['svc.test'] = a('10.0.0.1', '10.0.0.2')
      assert.deepEqual(await list(discoveredNodes('svc.test', 443, env())), [
        'svc.test 10.0.0.1:443 1 0',
        'svc.test 10.0.0.2:443 1 0',
      ])
    })

    it('are its addresses on the port that it names', async () => {
      server.zone['svc.test'] = [...a('10.0.0.1'), { type: 'SRV', name: 'other.test', port: 1 }]
      assert.deepEqual(await list(discoveredNodes('svc.test:8080', 80, env())), ['svc.test 10.0.0.1:8080 1 0'])
    })

    it('follow its records when they change', async () => {
      server.zone['one.test'] = a('10.0.0.1')
      server.zone['srv.test'] = [{ type: 'SRV', name: 'one.test', port: 1, ttl: 1 }]
      const source = discoveredNodes('srv.test', 80, env())
      assert.deepEqual(await list(source), ['one.test 10.0.0.1:1 1 0'])
      server.zone['srv.test'] = [{ type: 'SRV', name: 'one.test', port: 2, ttl: 1 }]
      clock += 5_001
      assert.deepEqual(await list(source), ['one.test 10.0.0.1:2 1 0'])
    })

    it('are none when nothing is known of it', async () => {
      assert.deepEqual((await discoveredNodes('none.test', 80, env()).nodes()).nodes, [])
    })
  })
})
