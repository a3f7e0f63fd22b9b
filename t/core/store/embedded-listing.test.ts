// What the embedded store lists while it is written to: one revision, whole, in order, without holding the loop up.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silent } from '../../../core/observe/log.ts'
import { openEmbedded } from '../../../core/store/embedded.ts'
import { listInSlices } from '../../../core/store/embedded-listing.ts'
import type { Change, Item, Kind, Store, Write } from '../../../core/store/store.ts'

describe('the list of the embedded store', () => {
  let path: string
  let store: Store

  beforeEach(() => {
    path = mkdtempSync(join(tmpdir(), 'sluice-listing-'))
  })
  afterEach(async () => {
    await store.close()
    rmSync(path, { recursive: true })
  })

  const put = (id: string, at: number, kind: Kind = 'routes'): Write => ({ kind, id, value: { at } })
  const padded = (at: number) => String(at).padStart(5, '0')

  it('is of one revision, in order, with all changes of a write or none, though writes go on', async function () {
    this.timeout(60_000)
    store = openEmbedded({ path, log: silent })
    const first = Array.from({ length: 12_000 }, (_, at) => put(padded(at), 0))
    const history = [{ revision: await store.write(first), changes: first }]
    let over = false
    let turns = 0
    const writing = (async () => {
      for (let round = 1; !over; round++) {
        turns++
        // Two ends of the list at once, something new among the old, and something that goes.
        const changes: Write[] = [
          put('00000', round),
          put('02999', round),
          put(`0${(round * 37) % 3_000}x${round}`, round),
          { kind: 'routes', id: padded(((round * 11) % 2_990) + 5), value: null },
          put('\u{1f600}', round, 'consumers'),
          put('\uffff', round, 'consumers'),
        ]
        history.push({ revision: await store.write(changes), changes })
      }
    })()
    const { items, revision } = await store.list()
    over = true
    await writing
    assert.ok(turns > 1, 'it was written meanwhile')
    const model = new Map<string, unknown>()
    for (const { revision: at, changes } of history) {
      if (at > revision) break
      for (const { kind, id, value } of changes) {
        if (value === null) model.delete(`${kind}/${id}`)
        else model.set(`${kind}/${id}`, value)
      }
    }
    const bytes = (key: string) => Buffer.from(key.replace('/', '\0'))
    assert.deepEqual(
      items.map(({ kind, id, value }) => [`${kind}/${id}`, value]),
      [...model].sort(([a], [b]) => Buffer.compare(bytes(a), bytes(b))),
    )
  })

  it('begins again when more was written than is kept, and in the end gives up', async () => {
    store = openEmbedded({ path, log: silent, changesKept: 1 })
    let revision = 0
    let lists = 0
    let calm = 3
    const items: Item[] = [{ kind: 'routes', id: '1', value: {}, createRevision: 1, modRevision: 1 }]
    const changes: Change[] = []
    const readings = {
      page: () => {
        lists++
        if (lists !== calm) revision += 2
        return items
      },
      revision: () => revision,
      changes: () => (changes.length === 0 ? undefined : changes),
    }
    assert.deepEqual(await listInSlices(readings), { items, revision: 4 })
    calm = -1
    await assert.rejects(listInSlices(readings), /more was written/)
    await assert.rejects(
      store.close().then(() => store.list()),
      /closed/,
    )
  })
})
