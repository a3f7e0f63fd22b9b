// What the load generator can be asked to do, and what it answers. Times are microseconds unless said.
import type { Target } from '../workload.ts'

/** `within` bounds every job in milliseconds: what is not done by then is given up. */
export type Job = UnaryJob | StreamsJob | HoldJob | TransferJob | { do: 'close' }

/** Whole answers, `concurrency` of them under way at any time, until `requests` are done or `within` is over. */
export interface UnaryJob {
  do: 'unary'
  /** A chat request of 1 KB without it. */
  kind?: 'get' | 'post'
  target: Target
  concurrency: number
  requests: number
  within: number
}

export interface Unary {
  /** How many were done: fewer than asked for when time was up. */
  requests: number
  seconds: number
  p50: number
  p99: number
}

/** Streams side by side, started one after the other, START_MS apart. */
export interface StreamsJob {
  do: 'streams'
  target: Target
  streams: number
  within: number
}

export interface Streams {
  events: number
  /** From the request's first byte to the first event. */
  firstP50: number
  firstP99: number
  /** From the event's sending by the mock to its arrival. */
  delayP50: number
  delayP99: number
}

/** A large body on each of some connections, from the upstream or to it. */
export interface TransferJob {
  do: 'transfer'
  target: Target
  direction: 'down' | 'up'
  /** Of one body. */
  bytes: number
  concurrency: number
  within: number
}

export interface Transfer {
  /** Of all bodies together. */
  bytes: number
  seconds: number
}

/** Streams that are opened and stay open until `close`, which closes every connection. Answers when each has its first event. */
export interface HoldJob {
  do: 'hold'
  target: Target
  streams: number
  within: number
}
