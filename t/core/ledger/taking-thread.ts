// A thread that takes from, settles and releases limits of a shared ledger at random until it is told to stop or ended.
import { parentPort, workerData } from 'node:worker_threads'
import type { Limit, Ticket } from '../../../core/ledger/ledger.ts'
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
  const open: { ticket: Ticket; key: number }[] = []
  // One that has no end dies with something in its hands.
  if (takes === Number.POSITIVE_INFINITY) ledger.take('window 0', window, { amount: 3, ticket: true })
  for (let n = 0; n < takes; n++) {
    const key = random(KEYS)
    const isSlot = random(2) === 0
    const taken = isSlot
      ? ledger.take(`slots ${key}`, slots, { amount: 1, ticket: true })
      : ledger.take(`window ${key}`, window, { amount: random(9), ticket: true })
    if (isSlot && taken.used > SLOTS) throw new Error(`${taken.used} slots are taken`)
    if (taken.ticket !== undefined) open.push({ ticket: taken.ticket, key: isSlot ? -1 : key })
    while (open.length > (n === takes - 1 ? 0 : random(6))) {
      const { ticket, key } = open.splice(random(open.length), 1)[0]!
      if (random(3) === 0) ticket.release()
      else {
        const actual = random(9)
        ticket.settle(actual)
        if (key >= 0) account[key]! += actual
      }
    }
  }
  parentPort.postMessage('done')
}
