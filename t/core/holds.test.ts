// What requests take: each hold ends once, whoever ends it, and the books balance at every moment.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { type Hold, HoldBook } from '../../core/holds.ts'
import { MetricsReader } from '../../core/observe/metrics-reader.ts'
import { MetricsWriter } from '../../core/observe/metrics-writer.ts'

function openBook(): { book: HoldBook; scrape(): string } {
  const reader = new MetricsReader()
  const book = new HoldBook(new MetricsWriter({ publish: series => reader.add('test', series) }))
  return { book, scrape: () => reader.print() }
}

describe('a hold', () => {
  it('is given back once, as it was ended first, and tells how much was used', () => {
    const { book } = openBook()
    const given: unknown[] = []
    const settled = book.open('slot', (end, actual) => given.push([end, actual]))
    assert.equal(settled.open, true)
    settled.settle(7)
    settled.settle(8)
    settled.release()
    assert.equal(settled.open, false)
    const released = book.open('slot', (end, actual) => given.push([end, actual]))
    released.release()
    released.settle(9)
    assert.deepEqual(given, [
      ['settled', 7],
      ['released', undefined],
    ])
  })

  it('has ended before what gives it back is called, which may come back to it', () => {
    const { book } = openBook()
    let times = 0
    const hold: Hold = book.open('slot', () => {
      times++
      hold.release()
      assert.equal(hold.open, false)
      assert.deepEqual(book.totals().slot, { opened: 1, settled: 1, released: 0, live: 0 })
    })
    hold.settle()
    assert.equal(times, 1)
  })

  it('has ended also when giving it back fails', () => {
    const { book } = openBook()
    const hold = book.open('slot', () => {
      throw new Error('lost')
    })
    assert.throws(() => hold.release(), /lost/)
    hold.release()
    assert.deepEqual(book.totals().slot, { opened: 1, settled: 0, released: 1, live: 0 })
  })

  it('is counted by kind, in the books and for whoever scrapes, whatever happens in whatever order', () => {
    const step = fc.oneof(
      fc.record({ does: fc.constant('open' as const), kind: fc.constantFrom('slot', 'tokens', 'socket') }),
      fc.record({ does: fc.constantFrom('settle' as const, 'release' as const), which: fc.nat(30) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), steps => {
        const { book, scrape } = openBook()
        const holds: { hold: Hold; kind: string; ended: 'settled' | 'released' | undefined; given: number }[] = []
        for (const each of steps) {
          if (each.does === 'open') {
            const { kind } = each
            const entry: (typeof holds)[0] = { hold: undefined as unknown as Hold, kind, ended: undefined, given: 0 }
            entry.hold = book.open(kind, () => void entry.given++)
            holds.push(entry)
          } else {
            const entry = holds[each.which]
            if (entry === undefined) continue
            entry.hold[each.does]()
            entry.ended ??= each.does === 'settle' ? 'settled' : 'released'
          }
          for (const [kind, { opened, settled, released, live }] of Object.entries(book.totals())) {
            const those = holds.filter(entry => entry.kind === kind)
            assert.deepEqual(
              { opened, settled, released, live },
              {
                opened: those.length,
                settled: those.filter(({ ended }) => ended === 'settled').length,
                released: those.filter(({ ended }) => ended === 'released').length,
                live: those.filter(({ ended }) => ended === undefined).length,
              },
            )
            assert.equal(opened, settled + released + live)
          }
        }
        for (const { hold, ended, given } of holds) {
          assert.deepEqual([hold.open, given], [ended === undefined, ended === undefined ? 0 : 1])
        }
        const text = scrape()
        for (const [kind, totals] of Object.entries(book.totals())) {
          for (const [what, count] of Object.entries(totals)) {
            const name = what === 'live' ? 'sluice_holds_live' : `sluice_holds_${what}_total`
            const shown = new RegExp(`^${name}\\{kind="${kind}"\\} (\\d+)$`, 'm').exec(text)?.[1] ?? '0'
            assert.equal(Number(shown), count, `${name} of ${kind}`)
          }
        }
      }),
      { numRuns: 300, seed: 20_261_120 },
    )
  })
})
