// Names as node:net asks for them, without what is denied.
import assert from 'node:assert/strict'
import type { LookupAddress, LookupOptions } from 'node:dns'
import { silent } from '../../../../core/observe/log.ts'
import { AddressGuard, DENIED_BY_DEFAULT } from '../../../../core/proxy/address-guard.ts'
import { DENIED, guardedLookup } from '../../../../core/proxy/dns/lookup.ts'
import { Resolver } from '../../../../core/proxy/dns/resolver.ts'
import { type DnsServer, startDnsServer } from '../../../helpers/dns-server.ts'

describe('a lookup', () => {
  let server: DnsServer
  let denied: string[]
  beforeEach(async () => {
    denied = []
    server = await startDnsServer({
      'two.test': [
        { type: 'A', address: '10.0.0.1' },
        { type: 'A', address: '10.0.0.2' },
      ],
      'six.test': [{ type: 'AAAA', address: 'fd00::1' }],
      'mixed.test': [
        { type: 'A', address: '10.0.0.1' },
        { type: 'A', address: '169.254.169.254' },
      ],
      'evil.test': [{ type: 'A', address: '169.254.169.254' }],
    })
  })
  afterEach(() => server.close())

  function find(name: string, options: LookupOptions): Promise<unknown[]> {
    const resolver = new Resolver({
      servers: [server.address],
      validMs: 0,
      timeoutMs: 2_000,
      search: false,
      ipv6: true,
      now: Date.now,
      log: silent,
      hostsFile: '/nowhere',
    })
    const lookup = guardedLookup(resolver, new AddressGuard(DENIED_BY_DEFAULT), (...what) =>
      denied.push(what.join(' ')),
    )
    return new Promise((resolve, reject) => {
      lookup(name, options, (error: Error | null, found: string | LookupAddress[], family?: number) =>
        error === null ? resolve([found, family]) : reject(error),
      )
    })
  }

  it('finds all addresses, or the first', async () => {
    const all = [
      { address: '10.0.0.1', family: 4 },
      { address: '10.0.0.2', family: 4 },
    ]
    assert.deepEqual(await find('two.test', { all: true }), [all, undefined])
    assert.deepEqual(await find('two.test', {}), ['10.0.0.1', 4])
    assert.deepEqual(await find('six.test', {}), ['fd00::1', 6])
  })

  it('passes over what is denied, and fails when nothing else is left', async () => {
    assert.deepEqual(await find('mixed.test', { all: true }), [[{ address: '10.0.0.1', family: 4 }], undefined])
    await assert.rejects(find('evil.test', { all: true }), { code: DENIED })
    assert.deepEqual(denied, ['mixed.test 169.254.169.254', 'evil.test 169.254.169.254'])
  })

  it('fails for a name that does not exist', () => assert.rejects(find('none.test', {}), { code: 'ENOTFOUND' }))
})
