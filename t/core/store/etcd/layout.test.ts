// APISIX's keys and values in etcd: what is an item, what is one with a fault, what is a stranger, what is none of ours.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Layout } from '../../../../core/store/etcd/layout.ts'
import { kinds } from '../../../../core/store/store.ts'

const layout = new Layout('/apisix')
const pair = (value: string | Buffer) => ({
  value: Buffer.from(value),
  create_revision: '7',
  mod_revision: '9007199254740991',
})

describe('the layout of etcd', () => {
  it('finds every item again under the key that it gives it', () => {
    const place = fc.record({ kind: fc.constantFrom(...kinds), id: fc.string({ unit: 'grapheme', minLength: 1 }) })
    fc.assert(
      fc.property(place, fc.constantFrom('/apisix', '/a/b', '/ü'), (place, prefix) => {
        const own = new Layout(prefix)
        const key = own.keyOf(place)
        assert.deepEqual(own.find(key), { ...place })
        const { from, to } = own.itemsOf(place.kind)
        for (const range of [own.all, { from, to }]) {
          assert.ok(Buffer.compare(range.from, key) <= 0 && Buffer.compare(key, range.to) < 0)
        }
        for (const other of kinds.filter(kind => kind !== place.kind)) {
          const range = own.itemsOf(other)
          assert.ok(Buffer.compare(key, range.from) < 0 || Buffer.compare(range.to, key) <= 0)
        }
      }),
    )
  })

  it('passes over the placeholders of directories, and what APISIX and Sluice keep beside resources', () => {
    const names = ['routes/', 'secrets/', 'plugins', 'gen_id', 'data_plane/server_info/1', 'sluice/writers/1']
    for (const name of names) assert.equal(layout.find(Buffer.from(`/apisix/${name}`)), undefined, name)
  })

  it('names every other key as a stranger', () => {
    for (const name of ['foo', 'foo/bar', 'routes', '/routes/1', 'Routes/1']) {
      const key = `/apisix/${name}`
      assert.deepEqual(layout.find(Buffer.from(key)), { key, reason: 'the key is no resource' })
    }
    const bytes = Buffer.from([...Buffer.from('/apisix/x/'), 0xff])
    assert.deepEqual(layout.find(bytes), { key: '/apisix/x/\\xff', reason: 'the key is no resource' })
  })

  it('reads an item with its revisions', () => {
    const place = layout.find(Buffer.from('/apisix/consumers/jack/credentials/c1'))
    assert.deepEqual(layout.itemAt(place as never, pair('{"plugins": {"a": [1, "ü"]}}')), {
      kind: 'consumers',
      id: 'jack/credentials/c1',
      value: { plugins: { a: [1, 'ü'] } },
      createRevision: 7,
      modRevision: 9007199254740991,
    })
  })

  it('says what is wrong with a value, without a word of it', () => {
    const faultOf = (value: string | Buffer) => {
      const item = layout.itemAt({ kind: 'routes', id: '1' }, pair(value))
      assert.deepEqual(item.value, {})
      return item.fault
    }
    for (const value of ['init_dir', '', '{"secret": ', 'nil']) assert.equal(faultOf(value), 'the value is not JSON')
    for (const value of ['[]', '"text"', '12', 'null']) assert.equal(faultOf(value), 'the value is not a JSON object')
    assert.equal(faultOf(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])), 'the value is not UTF-8')
    assert.match(faultOf(`{"a": ${'['.repeat(400_000)}${']'.repeat(400_000)}}`)!, /deeper than 100/)
    assert.match(faultOf('{"__proto__": {"a": 1}}')!, /__proto__/)
  })

  it('reads an item under a key that is no UTF-8 as one with a fault', () => {
    const key = Buffer.from([...Buffer.from('/apisix/routes/a'), 0xc3])
    const place = layout.find(key)
    const item = layout.itemAt(place as never, pair('{}'))
    assert.deepEqual([item.id, item.fault], ['a\\xc3', 'the key is not UTF-8'])
  })
})
