// A page that main prints and a worker reads, slice by slice.
import assert from 'node:assert/strict'
import { PageClient, PageServer } from '../../../core/workers/metrics-page.ts'
import { until } from '../../helpers/until.ts'

/** Both sides, and how many pages are begun and not ended. */
function joined(slices: () => AsyncIterable<string>) {
  const live = { pages: 0, slices: 0 }
  async function* print() {
    live.pages++
    try {
      for await (const slice of slices()) {
        live.slices++
        yield slice
      }
    } finally {
      live.pages--
    }
  }
  const client: PageClient = new PageClient(request => void server.receive(request))
  const server = new PageServer(print, answer => client.receive(answer))
  return { client, live }
}

async function* three() {
  yield* ['a', 'b', 'c']
}

async function whole(client: PageClient): Promise<string> {
  let text = ''
  for await (const slice of client.open()) text += slice
  return text
}

describe('a page that another thread prints', () => {
  it('comes whole, and as often as it is asked for, at the same time too', async () => {
    const { client, live } = joined(three)
    assert.deepEqual(await Promise.all([whole(client), whole(client), whole(client)]), ['abc', 'abc', 'abc'])
    assert.equal(live.pages, 0)
  })

  it('is printed no faster than it is read, and no further than somebody wants', async () => {
    const { client, live } = joined(three)
    for await (const slice of client.open()) {
      assert.equal(slice, 'a')
      assert.deepEqual(live, { pages: 1, slices: 1 })
      break
    }
    await until(() => live.pages === 0, 'it is let go')
    assert.equal(live.slices, 1)
  })

  it('fails here as it failed there', async () => {
    const { client, live } = joined(async function* () {
      yield 'a'
      throw new Error('torn')
    })
    await assert.rejects(whole(client), /torn/)
    assert.equal(live.pages, 0)
  })

  it('is one of sixteen at most', async () => {
    const { client } = joined(three)
    const open = Array.from({ length: 16 }, () => client.open()[Symbol.asyncIterator]())
    for (const page of open) await page.next()
    await assert.rejects(whole(client), /too many/)
    await open[0]!.return!()
    assert.equal(await whole(client), 'abc')
    for (const page of open) await page.return!()
  })
})
