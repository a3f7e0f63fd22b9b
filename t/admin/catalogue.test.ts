// The catalogue: what it knows of the store, in which order, and when.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Catalogue, type CatalogueOptions } from '../../admin/catalogue.ts'
import { silent } from '../../core/observe/log.ts'
import type { ConfigSource, Kind } from '../../core/store/store.ts'
import { MemoryStore } from '../helpers/memory-store.ts'
import { until } from '../helpers/until.ts'

describe('the catalogue', () => {
  let store: MemoryStore
  const open: Catalogue[] = []

  beforeEach(() => {
    store = new MemoryStore()
  })
  afterEach(async () => {
    for (const catalogue of open.splice(0)) catalogue.close()
    await store.close()
  })

  async function start(options: Partial<CatalogueOptions> = {}): Promise<Catalogue> {
    const catalogue = new Catalogue({ source: store, tags: () => [], log: silent, retryDelay: 1, ...options })
    open.push(catalogue)
    await catalogue.start()
    return catalogue
  }
  const put = (kind: Kind, id: string, value: Record<string, unknown> = {}) => store.write([{ kind, id, value }])
  const remove = (kind: Kind, id: string) => store.write([{ kind, id, value: null }])
  const ids = (items: Iterable<{ id: string }>) => [...items].map(({ id }) => id)

  it('has what was there before it and what came after, in the order of the keys', async () => {
    for (const id of ['b', '10', 'B']) await put('routes', id)
    const catalogue = await start()
    assert.deepEqual(ids(catalogue.of('routes')), ['10', 'B', 'b'])
    await put('routes', 'a')
    await remove('routes', '10')
    await put('routes', 'b', { n: 1 })
    assert.deepEqual(ids(catalogue.of('routes')), ['B', 'a', 'b'])
    assert.deepEqual(catalogue.get('routes', 'b')?.value, { n: 1 })
    assert.equal(catalogue.get('routes', '10'), undefined)
    assert.deepEqual(catalogue.of('services'), [])
  })

  it('keeps what is below an item apart from the items, and finds it by the item', async () => {
    const catalogue = await start()
    for (const id of ['jack', 'jack/credentials/2', 'jack/credentials/1', 'jackson', 'jackson/credentials/3']) {
      await put('consumers', id)
    }
    assert.deepEqual(ids(catalogue.of('consumers')), ['jack', 'jackson'])
    assert.deepEqual(ids(catalogue.of('credentials', 'jack/credentials/')), [
      'jack/credentials/1',
      'jack/credentials/2',
    ])
    assert.deepEqual(ids(catalogue.of('credentials', 'ja')).length, 3)
    assert.deepEqual(catalogue.of('credentials', 'jacks'), catalogue.of('credentials', 'jackson/credentials/'))
    assert.deepEqual(catalogue.of('credentials', 'z'), [])
  })

  it('finds items by their tags, of the last version only', async () => {
    const catalogue = await start({ tags: ({ value }) => value.tags as string[] })
    await put('routes', '1', { tags: ['a', 'b', 'a'] })
    await put('routes', '2', { tags: ['a'] })
    assert.deepEqual(ids(catalogue.tagged('a')), ['1', '2'])
    await put('routes', '1', { tags: ['c'] })
    assert.deepEqual(ids(catalogue.tagged('a')), ['2'])
    assert.deepEqual(ids(catalogue.tagged('b')), [])
    await remove('routes', '2')
    assert.deepEqual(ids(catalogue.tagged('a')), [])
    assert.deepEqual(ids(catalogue.tagged('toString')), [])
  })

  it('knows when each kind changed last, deletions too, and when it began', async () => {
    await put('routes', '1')
    await put('services', '1')
    const catalogue = await start()
    const revisions = () => [catalogue.revision, catalogue.revisionOf('routes'), catalogue.revisionOf('ssls')]
    assert.deepEqual(revisions(), [2, 2, 2])
    await put('services', '2')
    await remove('routes', '1')
    await put('services', '3')
    assert.deepEqual(revisions(), [5, 4, 2])
    assert.equal(catalogue.revisionOf('services'), 5)
  })

  it('says when it has reached a revision, or does not wait for ever', async () => {
    const catalogue = await start()
    const reached = catalogue.reached(2, 60_000)
    await put('routes', '1')
    await put('routes', '2')
    await reached
    await catalogue.reached(1)
    await catalogue.reached(99, 1)
    const waiting = catalogue.reached(99, 60_000)
    catalogue.close()
    await waiting
  })

  it('lists again when the source could not be listed or the watch was lost, and forgets what is gone', async () => {
    let lost: (error: Error) => void = () => {}
    const flaky: ConfigSource = {
      list: () => store.list(),
      watch: (since, changed, gone) => {
        lost = gone
        return store.watch(since, changed, gone)
      },
    }
    store.away = true
    const catalogue = new Catalogue({ source: flaky, tags: ({ id }) => [id], log: silent, retryDelay: 1 })
    open.push(catalogue)
    const started = catalogue.start()
    store.away = false
    await put('routes', '1')
    await started
    assert.deepEqual(ids(catalogue.of('routes')), ['1'])
    const replaced = new MemoryStore()
    flaky.list = () => replaced.list()
    await replaced.write([{ kind: 'routes', id: '2', value: {} }])
    lost(new Error('the data was replaced'))
    await until(() => catalogue.get('routes', '2') !== undefined, 'the new data is known')
    assert.deepEqual(ids(catalogue.of('routes')), ['2'])
    assert.deepEqual(ids(catalogue.tagged('1')), [])
    await replaced.close()
  })

  it('stops asking when it is closed', async () => {
    store.away = true
    const catalogue = new Catalogue({ source: store, tags: () => [], log: silent, retryDelay: 60_000 })
    const started = catalogue.start()
    catalogue.close()
    await started
  })

  it('equals the store whatever is written', async () => {
    const id = fc.constantFrom('a', 'b', 'a/credentials/1', 'b/credentials/2', 'a/credentials/3')
    const change = fc.record({
      kind: fc.constantFrom<Kind>('consumers', 'routes'),
      id,
      value: fc.option(fc.record({ t: fc.constantFrom('x', 'y') })),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uniqueArray(change, { selector: ({ kind, id }) => `${kind}/${id}` })), async all => {
        const store = new MemoryStore()
        const catalogue = new Catalogue({ source: store, tags: ({ value }) => [`${value.t}`], log: silent })
        await catalogue.start()
        for (const changes of all) await store.write(changes)
        const { items } = await store.list()
        const seen = (['consumers', 'credentials', 'routes'] as const).flatMap(kind => catalogue.of(kind))
        assert.deepEqual(new Set(seen), new Set(items))
        for (const tag of ['x', 'y']) {
          assert.deepEqual(new Set(catalogue.tagged(tag)), new Set(items.filter(({ value }) => value.t === tag)))
        }
        catalogue.close()
        await store.close()
      }),
      { numRuns: 100 },
    )
  })
})
