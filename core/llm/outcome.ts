// What comes of one try at a target: an answer that has begun, or a failure of which the client knows nothing yet.
import { type Reply, reply } from '../reply.ts'
import type { Failure } from './failure.ts'
import type { Protocol } from './protocols/protocol.ts'
import type { Said } from './rest-asked.ts'

/** What came of a try: only after a failure can another target be asked. */
export type Outcome = Begun | Failed

/** The answer leaves from now on. What breaks it later is told at its end, in the client's protocol. */
export interface Begun {
  readonly begun: true
  readonly reply: Reply
}

/** Nothing has left for the client, who will not learn of it when another target does better. */
export interface Failed {
  readonly begun: false
  /** The provider's, 400 or more, or that of a failure on the way. */
  readonly status: number
  /** What the client gets when nobody else is asked; undefined when `error` is thrown then. To be discarded otherwise. */
  readonly reply: Reply | undefined
  readonly error: Error | undefined
  /** What the provider said besides its status, if it said anything. */
  readonly said: Said | undefined
}

/** A failure that the client would be told of so. */
export function failed(given: Reply, more: { error?: Error; said?: Said } = {}): Failed {
  return { begun: false, status: given.status, reply: given, error: more.error, said: more.said }
}

/** A failure in words of the client's protocol. */
export function errorReply(protocol: Protocol, failure: Failure): Reply {
  return reply(failure.status, protocol.errorBody(failure), { 'Content-Type': 'application/json' })
}
