// Who a request comes from, and what of its words about itself is believed (facts core 6.7).
import assert from 'node:assert/strict'
import { Forwarding, type ForwardingOptions } from '../../core/forwarding.ts'
import { HeaderList } from '../../core/reply.ts'

const nobody = { header: 'X-Real-IP', from: [], recursive: false }

describe('the address of a client', () => {
  const client = (peer: string, fields: string[], realIp: Partial<ForwardingOptions['realIp']> = {}) =>
    new Forwarding({
      trusted: undefined,
      realIp: { header: 'X-Real-IP', from: ['127.0.0.1', 'unix:', '10.0.0.0/8', '::1'], recursive: false, ...realIp },
    }).clientOf(peer, new HeaderList(fields))

  it('is that of its connection', () => {
    assert.equal(client('203.0.113.9', []), '203.0.113.9')
    assert.equal(client('203.0.113.9', ['X-Real-IP', '6.6.6.6']), '203.0.113.9')
    assert.equal(client('127.0.0.1', []), '127.0.0.1')
    assert.equal(client('127.0.0.1', ['X-Real-IP', '6.6.6.6'], { from: [] }), '127.0.0.1')
    assert.equal(client('127.0.0.1', ['X-Real-IP', '6.6.6.6'], { from: ['unix:'] }), '127.0.0.1')
  })

  it('is what a peer that is believed says', () => {
    assert.equal(client('127.0.0.1', ['x-real-ip', '6.6.6.6']), '6.6.6.6')
    assert.equal(client('10.1.2.3', ['X-Real-IP', ' 2001:db8::1 ']), '2001:db8::1')
    assert.equal(client('::1', ['X-Real-IP', '[2001:db8::1]:8080']), '2001:db8::1')
    assert.equal(client('10.0.0.1', ['X-Real-IP', '6.6.6.6:1234']), '6.6.6.6')
  })

  for (const nonsense of ['', 'unknown', '6.6.6', '6.6.6.6.6', '_hidden', '6.6.6.6:x', '[::1', '010.0.0.1']) {
    it(`is that of its connection when it says "${nonsense}"`, () => {
      assert.equal(client('127.0.0.1', ['X-Real-IP', nonsense]), '127.0.0.1')
    })
  }

  it('is the last of several, or with recursion the last that is not believed', () => {
    const fields = ['X-Forwarded-For', '6.6.6.6, 7.7.7.7', 'X-Forwarded-For', '10.0.0.2, 10.0.0.1']
    const header = 'X-Forwarded-For'
    assert.equal(client('127.0.0.1', fields, { header }), '10.0.0.1')
    assert.equal(client('127.0.0.1', fields, { header, recursive: true }), '7.7.7.7')
    const all = ['X-Forwarded-For', '10.0.0.2, 10.0.0.1']
    assert.equal(client('127.0.0.1', all, { header, recursive: true }), '10.0.0.2')
    const broken = ['X-Forwarded-For', '6.6.6.6, nonsense, 10.0.0.1']
    assert.equal(client('127.0.0.1', broken, { header, recursive: true }), '10.0.0.1')
  })
})

describe('what a request says about itself', () => {
  const fields = [
    ...['Host', 'a', 'X-Forwarded-For', '1.1.1.1', 'x-forwarded-proto', 'https', 'X-Other', 'stays'],
    ...['X-Forwarded-Host', 'b', 'X-Forwarded-Port', '1', 'X-FORWARDED-HOST', 'c', 'Forwarded', 'for=1.1.1.1'],
    ...['X-Consumer-Username', 'root', 'X-Credential-Identifier', '1', 'x-consumer-custom-id', '2', 'Via', '1.1 x'],
  ]
  function names(peer: string, trusted: string[] | undefined) {
    const headers = new HeaderList([...fields])
    const dropped = new Forwarding({ trusted, realIp: nobody }).sanitise(peer, headers)
    const of = (flat: readonly string[]) => flat.filter((_, at) => at % 2 === 0).map(name => name.toLowerCase())
    return { kept: of(headers.raw), dropped: of(dropped ?? []) }
  }
  const claims = ['x-forwarded-proto', 'x-forwarded-host', 'x-forwarded-port', 'x-forwarded-host', 'forwarded']
  const identity = ['x-consumer-username', 'x-credential-identifier', 'x-consumer-custom-id']

  it('is dropped, but for whom it forwards, when nobody is trusted by name', () => {
    const { kept, dropped } = names('10.0.0.1', undefined)
    assert.deepEqual(kept, ['host', 'x-forwarded-for', 'x-other', 'via'])
    assert.deepEqual(dropped, [...claims, ...identity])
  })

  it('is dropped whole when others are trusted', () => {
    const { kept, dropped } = names('203.0.113.9', ['10.0.0.0/8'])
    assert.deepEqual(kept, ['host', 'x-other', 'via'])
    assert.deepEqual(dropped, ['x-forwarded-for', ...claims, ...identity])
  })

  it('is kept of a proxy that is trusted, except who the consumer is', () => {
    const { kept, dropped } = names('10.0.0.1', ['10.0.0.0/8'])
    assert.deepEqual(kept, ['host', 'x-forwarded-for', 'x-forwarded-proto', 'x-other', ...claims.slice(1), 'via'])
    assert.deepEqual(dropped, identity)
  })

  it('is left alone when there is nothing of the kind', () => {
    const headers = new HeaderList(['Host', 'a', 'X-Forwarded-Fox', '1', 'Forwardes', '2'])
    assert.equal(new Forwarding({ trusted: undefined, realIp: nobody }).sanitise('1.1.1.1', headers), undefined)
    assert.equal(headers.raw.length, 6)
  })
})
