// A thread that takes from, settles and releases limits of a shared ledger at random until it is told to stop or ended.
import { parentPort, workerData } from 'node:worker_threads'
import type { Limit } from '../../../core/ledger/ledger.ts'
import { LedgerMemory } from '../../../core/ledger/ledger-memory.ts'
import { SharedLedger } from '../../../core/ledger/shared-ledger.ts'
import { randomness } from '../../helpers/randomness.ts'

export interface Takings {
  memory: SharedArrayBuffer
  owner: number
  seed: number
  /** How often it takes; it stops with every ticket ended. */
  takes: number
  /** Its own account, read by the test: what it has settled per key. A thread that is ended may have settled one more. */
  settled: SharedArrayBuffer
}

export const KEYS = 4
/** Nobody may take more at once than this of a key. */
export const SLOTS = 5
export const window: Limit = { kind: 'fixed_window', limit: 1e12, windowMs: 1e9 }
export const slots: Limit = { kind: 'slots', limit: SLOTS }

if (parentPort !== null) {
  const { memory, owner, seed, takes, settled } = workerData as Takings
  const ledger = new SharedLedger(new LedgerMemory(memory, owner), () => 1_000)
  const account = new Float64Array(settled)
  const random = randomness(seed)
  const open: { settle(actual: number): void; release(): void; keys: number[] }[] = []
  // One that has no end dies with something in its hands.
  if (takes === Number.POSITIVE_INFINITY) ledger.take('window 0', window, { amount: 3, ticket: true })
  for (let n = 0; n < takes; n++) {
    const key = random(KEYS)
    const what = random(4)
    if (what === 0) {
      const { ticket, used } = ledger.take(`slots ${key}`, slots, { amount: 1, ticket: true })
      if (used > SLOTS) throw new Error(`${used} slots are taken`)
      if (ticket !== undefined) open.push({ settle: () => ticket.settle(1), release: () => ticket.release(), keys: [] })
    } else {
      const other = (key + 1 + random(KEYS - 1)) % KEYS
      const keys = what === 1 ? [key, other] : [key]
      const takings = keys.map(key => ({
        key: `window ${key}`,
        limit: window,
        wish: { amount: random(9), ticket: true },
      }))
      const ticket = ledger.takeAll(takings).ticket!
      open.push({ settle: actual => ticket.settle(keys.map(() => actual)), release: () => ticket.release(), keys })
    }
    while (open.length > (n === takes - 1 ? 0 : random(6))) {
      const { settle, release, keys } = open.splice(random(open.length), 1)[0]!
      if (random(3) === 0) release()
      else {
        const actual = random(9)
        settle(actual)
        for (const key of keys) account[key]! += actual
      }
    }
  }
  parentPort.postMessage('done')
}
