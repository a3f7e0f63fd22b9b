// The health of one target as a number: what is observed moves it along (facts core 6.6). Knows no clocks, threads, sockets.

export type Status = 'healthy' | 'mostly_healthy' | 'mostly_unhealthy' | 'unhealthy'

/** What was seen of a target. */
export type Sign = 'success' | 'http' | 'tcp' | 'timeout'

/** In the words of the control API. Successes are counted, or failures, never both. */
export interface Counter {
  success: number
  http_failure: number
  tcp_failure: number
  timeout_failure: number
}

/*
 * 27 bits, so that threads can exchange the whole state at once: three counters of eight bits, whether the first of them
 * counts successes (then the others are zero), and the status. Zero is a target that nobody knows anything bad of.
 */
const BYTE = 0xff
const SUCCESSES = 1 << 24
const STATUS = 25
const STATUSES: readonly Status[] = ['healthy', 'mostly_healthy', 'mostly_unhealthy', 'unhealthy']

const SHIFT: Readonly<Record<Sign, number>> = { success: 0, http: 0, tcp: 8, timeout: 16 }

export function statusOf(state: number): Status {
  return STATUSES[(state >>> STATUS) & 3]!
}

/** Whether requests may go there. */
export function isUsable(state: number): boolean {
  return ((state >>> STATUS) & 3) < 2
}

export function counterOf(state: number): Counter {
  const of = (sign: Sign) => (state >>> SHIFT[sign]) & BYTE
  return (state & SUCCESSES) !== 0
    ? { success: of('success'), http_failure: 0, tcp_failure: 0, timeout_failure: 0 }
    : { success: 0, http_failure: of('http'), tcp_failure: of('tcp'), timeout_failure: of('timeout') }
}

/**
 * The state after a sign. `limit` signs of its kind in a row make the target healthy or unhealthy; 0 means that they do not
 * count. A success ends every count of failures, and the other way round. Who is healthy is not praised, who is unhealthy
 * not blamed further: the same state comes back.
 */
export function after(state: number, sign: Sign, limit: number): number {
  const good = sign === 'success'
  const status = statusOf(state)
  if (limit === 0 || status === (good ? 'healthy' : 'unhealthy')) return state
  const counters = ((state & SUCCESSES) !== 0) === good ? state & (SUCCESSES - 1) : 0
  const shift = SHIFT[sign]
  const count = Math.min(BYTE, ((counters >>> shift) & BYTE) + 1)
  const counted = (counters & ~(BYTE << shift)) | (count << shift)
  return (good ? SUCCESSES : 0) | counted | (STATUSES.indexOf(next(status, good, count >= limit)) << STATUS)
}

function next(status: Status, good: boolean, enough: boolean): Status {
  if (enough) return good ? 'healthy' : 'unhealthy'
  if (status === 'healthy') return 'mostly_healthy'
  return status === 'unhealthy' ? 'mostly_unhealthy' : status
}

/** How many signs of that kind have been counted. */
export function countOf(state: number, sign: Sign): number {
  return ((state & SUCCESSES) !== 0) === (sign === 'success') ? (state >>> SHIFT[sign]) & BYTE : 0
}
