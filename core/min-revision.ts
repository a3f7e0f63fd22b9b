// Requests that ask for a configuration at least as new as a revision: they wait for it, within bounds; knows no pipeline.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { GatewayError } from './errors.ts'
import type { HeaderList } from './reply.ts'
import { addressSet } from './router/addresses.ts'
import type { Revision } from './store/store.ts'

export interface MinRevisionLimits {
  /** Addresses and CIDRs whose requests may ask. */
  trusted: readonly string[]
  /** Milliseconds that a request waits at most. */
  wait: number
  /** How many wait at most. */
  maxWaiting: number
}

type Handle = (message: IncomingMessage, response: ServerResponse) => void

interface Waiting {
  wanted: Revision
  begin(): void
}

const HEADER = 'x-sluice-min-revision'

/** So that a client reads its own write through any gateway of a fleet: the admin API's answer has the revision. */
export class MinRevision {
  readonly #limits: MinRevisionLimits
  readonly #trusted: { has(address: string): boolean }
  readonly #waiting = new Set<Waiting>()
  #applied: Revision = 0

  constructor(limits: MinRevisionLimits) {
    this.#limits = limits
    this.#trusted = addressSet(limits.trusted)
  }

  /** The configuration of this revision is served from now on. */
  applied(revision: Revision): void {
    this.#applied = revision
    for (const { wanted, begin } of this.#waiting) if (wanted <= revision) begin()
  }

  /** A listener that passes on a request when its revision is here, when it has waited long enough, or when it leaves. */
  before(handle: Handle): Handle {
    return (message, response) => {
      const wanted = this.#wanted(message)
      if (wanted === undefined || !(wanted > this.#applied) || this.#waiting.size >= this.#limits.maxWaiting) {
        handle(message, response)
        return
      }
      const { socket } = message
      const begin = () => {
        if (!this.#waiting.delete(waiting)) return
        clearTimeout(timer)
        socket.removeListener('close', begin)
        handle(message, response)
      }
      const waiting: Waiting = { wanted, begin }
      const timer = setTimeout(begin, this.#limits.wait)
      // One for each request that a client has pipelined; `maxWaiting` bounds them.
      socket.setMaxListeners(0)
      // Before node:http hears of it and closes the response, whose `close` is where a request ends.
      socket.prependOnceListener('close', begin)
      this.#waiting.add(waiting)
    }
  }

  /** Why the configuration of `revision` is not what a request has asked for. The field goes no further, whoever sent it. */
  refusal(message: IncomingMessage, headers: HeaderList, revision: Revision): GatewayError | undefined {
    if (message.headers[HEADER] !== undefined) headers.delete(HEADER)
    const wanted = this.#wanted(message)
    if (wanted === undefined || wanted <= revision) return undefined
    if (Number.isNaN(wanted))
      return new GatewayError(400, 'bad_min_revision', `400 Bad Request: ${HEADER} is no revision`)
    const text = `the configuration is of revision ${revision}, older than the request asks for`
    return new GatewayError(503, 'revision_not_applied', text, { headers: { 'Retry-After': '1' } })
  }

  /** NaN for what is none; undefined when nothing is asked for by somebody who may. */
  #wanted({ headers, socket }: IncomingMessage): Revision | undefined {
    const text = headers[HEADER]
    if (text === undefined || !this.#trusted.has(socket.remoteAddress ?? '')) return undefined
    return typeof text === 'string' && /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  }
}
