// Addresses that names may not lead to.
import assert from 'node:assert/strict'
import { AddressGuard, DENIED_BY_DEFAULT } from '../../../core/proxy/address-guard.ts'

describe('the guard of addresses', () => {
  const guard = new AddressGuard(DENIED_BY_DEFAULT)

  for (const address of [
    '169.254.169.254',
    '169.254.170.2',
    '169.254.0.1',
    '169.254.255.255',
    '::ffff:169.254.169.254',
    '::ffff:a9fe:a9fe',
    '64:ff9b::a9fe:a9fe',
    'fe80::1',
    'fe80::1%eth0',
    'febf::1',
    '100.100.100.200',
    '192.0.0.192',
    '168.63.129.16',
    'fd00:ec2::254',
    'fd20:ce::254',
  ]) {
    it(`denies ${address}`, () => assert.ok(guard.denies(address)))
  }

  for (const address of ['127.0.0.1', '::1', '10.0.0.1', '192.168.1.1', '169.253.255.255', '169.255.0.0', 'fec0::1']) {
    it(`allows ${address}`, () => assert.ok(!guard.denies(address)))
  }

  it('denies what it is told, and nothing when it is told nothing', () => {
    const own = new AddressGuard(['10.0.0.0/8', '::1'])
    assert.deepEqual(
      ['10.1.2.3', '::ffff:10.0.0.1', '::1', '169.254.169.254'].map(address => own.denies(address)),
      [true, true, true, false],
    )
    assert.ok(!new AddressGuard([]).denies('169.254.169.254'))
    assert.throws(() => new AddressGuard(['10.0.0.0/99']), /invalid ip address/)
  })
})
