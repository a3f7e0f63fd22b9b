// The routes there are, as a store tells of them.
import assert from 'node:assert/strict'
import { silent } from '../../core/observe/log.ts'
import { RouteNames } from '../../core/route-names.ts'
import type { Write } from '../../core/store/store.ts'
import { MemoryStore } from '../helpers/memory-store.ts'
import { until } from '../helpers/until.ts'

describe('the names of routes', () => {
  let store: MemoryStore
  let names: RouteNames | undefined

  beforeEach(() => {
    store = new MemoryStore()
  })
  afterEach(async () => {
    names?.close()
    await store.close()
  })
  const route = (id: string, name?: string): Write => ({
    kind: 'routes',
    id,
    value: name === undefined ? {} : { name },
  })
  /** Of a, b, one and two, those that are known. */
  const known = () => ['a', 'b', 'one', 'two'].filter(value => names!.has(value)).join()

  it('are ids and names, from the list and from every change after it', async () => {
    await store.write([route('a', 'one'), { kind: 'services', id: 'b', value: { name: 'two' } }])
    names = new RouteNames(store, silent)
    await until(() => known() === 'a,one', 'the list is known')
    await store.write([route('b', 'one')])
    await until(() => known() === 'a,b,one', 'a second one has the name')
    await store.write([{ kind: 'routes', id: 'a', value: null }])
    await until(() => known() === 'b,one', 'the other still has the name')
    await store.write([route('b', 'two')])
    await until(() => known() === 'b,two', 'the name is another')
    await store.write([route('b')])
    await until(() => known() === 'b', 'the name is gone')
    assert.deepEqual([...names.ids], ['b'])
  })

  it('are all there may be until the store has said which there are', async () => {
    store.away = true
    names = new RouteNames(store, silent)
    assert.equal(names.has('anything'), true)
    await new Promise(resolve => setImmediate(resolve))
    assert.equal(names.has('anything'), true)
    store.away = false
    await until(() => !names!.has('anything'), 'it has asked again')
  })

  it('are listed again when the watch is lost', async () => {
    await store.write([route('a')])
    let lose = () => {}
    names = new RouteNames(
      {
        list: () => store.list(),
        watch(_since, _changed, lost) {
          lose = () => lost(new Error('compacted'))
          return () => {}
        },
      },
      silent,
    )
    await until(() => known() === 'a', 'the list is known')
    await store.write([{ kind: 'routes', id: 'a', value: null }, route('b')])
    assert.equal(known(), 'a')
    lose()
    await until(() => known() === 'b', 'the new list is known')
  })
})
