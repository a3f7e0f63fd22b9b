// Replies of a watch become whole writes, however etcd cuts them into replies and fragments.
import assert from 'node:assert/strict'
import type { IEvent, IWatchResponse } from 'etcd3'
import fc from 'fast-check'
import { silent } from '../../../../core/observe/log.ts'
import { Assembly, Lost } from '../../../../core/store/etcd/assembly.ts'
import { Layout } from '../../../../core/store/etcd/layout.ts'
import { Strangers } from '../../../../core/store/etcd/strangers.ts'

const layout = new Layout('/apisix')

function event(revision: number, key: string, value: string | null): IEvent {
  const kv = {
    key: Buffer.from(`/apisix/${key}`),
    value: Buffer.from(value ?? ''),
    mod_revision: String(revision),
    create_revision: '1',
    version: '1',
    lease: '0',
  }
  return { type: value === null ? 'Delete' : 'Put', kv, prev_kv: kv }
}

function reply(events: IEvent[], more: Partial<IWatchResponse> = {}): IWatchResponse {
  return {
    // Ahead of its events, as the header of `created` is while they are replayed.
    header: { cluster_id: '1', member_id: '1', revision: '999999', raft_term: '1' },
    watch_id: '0',
    created: false,
    canceled: false,
    compact_revision: '0',
    cancel_reason: '',
    fragment: false,
    events,
    ...more,
  }
}

const assembly = (since: number, strangers = new Strangers(silent)) => new Assembly(since, layout, strangers)

describe('the assembly of a watch', () => {
  it('gives each write once, whole and in order, whatever the replies and fragments it comes in', () => {
    const write = fc.integer({ min: 1, max: 4 })
    const stream = fc.record({
      writes: fc.array(write, { maxLength: 12 }),
      gaps: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 12, maxLength: 12 }),
      cuts: fc.array(fc.constantFrom('none', 'fragment', 'reply'), { minLength: 48, maxLength: 48 }),
      again: fc.integer({ min: 0, max: 5 }),
    })
    fc.assert(
      fc.property(stream, ({ writes, gaps, cuts, again }) => {
        let revision = 10
        const expected: { revision: number; ids: string[] }[] = []
        const replies: IWatchResponse[] = []
        let part: IEvent[] = []
        let at = 0
        for (const [n, size] of writes.entries()) {
          revision += gaps[n]!
          const ids = Array.from({ length: size }, (_, k) => `${n}-${k}`)
          expected.push({ revision, ids })
          for (const [k, id] of ids.entries()) {
            part.push(event(revision, `routes/${id}`, '{}'))
            const cut = cuts[at++]
            // etcd ends a reply only between writes; a fragment anywhere.
            if (cut === 'fragment' || (cut === 'reply' && k === size - 1)) {
              replies.push(reply(part, { fragment: cut === 'fragment' }))
              part = []
            }
          }
        }
        replies.push(reply(part))
        // A watch that is resumed may be told again what it knows.
        const known = expected.slice(0, again)
        const since = known.at(-1)?.revision ?? 10
        const assembled = assembly(since)
        const seen = replies.flatMap(each => assembled.take(each))
        assert.deepEqual(
          seen.map(({ revision, changes }) => ({ revision, ids: changes.map(({ id }) => id) })),
          expected.slice(again),
        )
      }),
    )
  })

  it('gives a write as soon as the next one begins, and none that is cut off', () => {
    const assembled = assembly(1)
    const first = assembled.take(reply([event(2, 'routes/a', '{}'), event(3, 'routes/b', '{}')], { fragment: true }))
    assert.deepEqual(
      first.map(({ revision }) => revision),
      [2],
    )
    const second = assembled.take(reply([event(3, 'routes/c', null)]))
    assert.deepEqual(
      second.map(({ changes }) => changes.map(({ id, item }) => [id, item === undefined])),
      [
        [
          ['b', false],
          ['c', true],
        ],
      ],
    )
  })

  it('takes no revision from a header', () => {
    const assembled = assembly(1)
    assert.deepEqual(assembled.take(reply([], { created: true })), [])
    assert.equal(assembled.take(reply([event(2, 'routes/a', '{}')])).length, 1)
  })

  it('is lost by compaction, whatever the reason says, and fails with the reason of any other end', () => {
    const compacted = reply([], { canceled: true, compact_revision: '17' })
    assert.throws(() => assembly(3).take(compacted), Lost)
    const denied = reply([], { canceled: true, cancel_reason: 'permission denied' })
    assert.throws(
      () => assembly(3).take(denied),
      (error: Error) => !(error instanceof Lost) && error.message === 'permission denied',
    )
  })

  it('lists strangers while they are there', () => {
    const strangers = new Strangers(silent)
    const assembled = assembly(1, strangers)
    assert.deepEqual(assembled.take(reply([event(2, 'foo/bar', 'x'), event(2, 'routes/', 'init_dir')])), [
      { revision: 2, changes: [] },
    ])
    assert.deepEqual(
      strangers.all.map(({ key }) => key),
      ['/apisix/foo/bar'],
    )
    assembled.take(reply([event(3, 'foo/bar', null)]))
    assert.deepEqual(strangers.all, [])
  })
})
