// A configuration that is replaced whole: what counts as a change, and who hears of it.
import assert from 'node:assert/strict'
import { DocumentSource } from '../../../core/store/document-source.ts'
import type { Change, Kind } from '../../../core/store/store.ts'
import { until } from '../../helpers/until.ts'

const never = () => assert.fail('called')
const entry = (id: string, value: Record<string, unknown> = {}, kind: Kind = 'routes') => ({ kind, id, value })

describe('a document as a source', () => {
  it('has nothing before the first swap, and then what was swapped in', async () => {
    const source = new DocumentSource()
    assert.deepEqual(await source.list(), { items: [], revision: 0 })
    assert.equal(source.swap([entry('1', { n: 1 }), entry('1', {}, 'services')]), 1)
    const { items, revision } = await source.list()
    assert.equal(revision, 1)
    assert.deepEqual(items, [
      { ...entry('1', { n: 1 }), createRevision: 1, modRevision: 1 },
      { ...entry('1', {}, 'services'), createRevision: 1, modRevision: 1 },
    ])
  })

  it('keeps what is equal as it is, to the object, and tells of the rest in one piece', async () => {
    const source = new DocumentSource()
    source.swap([entry('same', { a: [1] }), entry('new', { n: 1 }), entry('gone')])
    const [same] = (await source.list()).items
    const heard: (readonly Change[])[] = []
    source.watch(1, changes => heard.push(changes), never)
    assert.equal(source.swap([entry('new', { n: 2 }), entry('same', { a: [1] }), entry('more')]), 2)
    const listed = (await source.list()).items
    assert.equal(listed[1], same)
    assert.deepEqual(
      listed.map(({ id, createRevision, modRevision }) => [id, createRevision, modRevision]),
      [
        ['new', 1, 2],
        ['same', 1, 1],
        ['more', 2, 2],
      ],
    )
    assert.deepEqual(
      heard.map(changes => changes.map(({ id, item, revision }) => [id, item?.value, revision])),
      [
        [
          ['new', { n: 2 }, 2],
          ['more', {}, 2],
          ['gone', undefined, 2],
        ],
      ],
    )
  })

  it('is at the same revision when nothing has changed', () => {
    const source = new DocumentSource()
    source.swap([entry('1', { a: 1 })])
    source.watch(1, never, never)
    assert.equal(source.swap([entry('1', { a: 1 })]), 1)
  })

  it('sends a watcher that is behind back to the list, once', async () => {
    const source = new DocumentSource()
    source.swap([entry('1')])
    let lost = 0
    source.watch(0, never, () => lost++)
    const stopped = source.watch(0, never, never)
    stopped()
    await until(() => lost === 1, 'the watch is lost')
    source.swap([])
    assert.equal(lost, 1)
  })

  it('calls nobody who has stopped watching', () => {
    const source = new DocumentSource()
    const stop = source.watch(0, never, never)
    stop()
    source.swap([entry('1')])
  })
})
