// A call of a plugin's own beside the client's, to a model or a service that helps with it (facts ai-plugins 3.6): it has the
// plugin's credentials and nothing of the client's; knows no service.
import type { Context } from '../context.ts'
import { UpstreamError } from '../errors.ts'
import type { Counter, Histogram, HistogramSeries, Metrics } from '../observe/metrics.ts'
import type { Caller, KeepAlive, Transport } from '../proxy/transport.ts'
import { withoutEchoes } from './echoes.ts'
import { operatorFields } from './fields.ts'
import type { JsonObject } from './json.ts'
import type { Protocol } from './protocols/protocol.ts'
import { shapeBody } from './shape-body.ts'
import { endpointUrl, type Target } from './target.ts'
import { wholeBody } from './whole-body.ts'

/** A POST, whole: what is not here is not sent. */
export interface Errand {
  /** scheme://host:port */
  readonly origin: string
  /** `host:port`, for logs. */
  readonly address: string
  /** Path and query on the wire. */
  readonly target: string
  /** By lower-case name; not of the connection nor of the body. */
  readonly headers: ReadonlyMap<string, string>
  /** JSON without it. */
  readonly contentType?: string
  readonly body: Buffer
}

export interface SidecarAnswer {
  readonly status: number
  readonly contentType: string | undefined
  /** Whole, and uncompressed. */
  readonly body: Buffer
}

export interface SidecarOptions {
  /** Milliseconds for the whole call. */
  readonly timeoutMs: number
  /** https: refuse a certificate that does not verify. */
  readonly verify: boolean
  /** What becomes of the connection afterwards; false closes it. */
  readonly keepAlive?: KeepAlive | boolean
  /** Bytes of an answer; 16 MiB without it. */
  readonly maxBytes?: number
}

/** On whose behalf something is asked: who goes takes the call along. */
export type Wisher = Pick<Context, 'aborted' | 'onAbort' | 'offAbort'> & Partial<Pick<Context, 'buffer'>>

const MAX_ANSWER = 16 * 1024 * 1024

/** One per use in a config. Counts how long its calls take, and those that fail. */
export class Sidecar {
  readonly #plugin: string
  readonly #transport: Transport
  readonly #options: SidecarOptions
  readonly #seconds: HistogramSeries
  readonly #failures: Counter

  constructor(plugin: string, env: { transport: Transport; metrics: Metrics }, options: SidecarOptions) {
    const { seconds, failures } = env.metrics.once(openFamilies)
    this.#plugin = plugin
    this.#transport = env.transport
    this.#options = options
    this.#seconds = seconds.of([plugin])
    this.#failures = failures
  }

  /**
   * Sends it and reads the answer, whatever its status. Rejects with UpstreamError, and with what `wisher` is aborted with
   * meanwhile (a request's Context: ClientGone); without one nobody in particular asks. Its attempts are none of the request's.
   */
  async ask(wisher: Wisher | undefined, errand: Errand): Promise<SidecarAnswer> {
    const began = performance.now()
    try {
      const answer = await this.#exchange(wisher, errand)
      if (answer.status !== 200) this.failed(`status ${answer.status}`)
      this.#seconds.observe((performance.now() - began) / 1000)
      return answer
    } catch (error) {
      if (wisher?.aborted !== undefined) throw error
      this.failed(error instanceof UpstreamError ? error.fault : 'error')
      this.#seconds.observe((performance.now() - began) / 1000)
      throw error
    }
  }

  /** Counts an answer that is of no use. */
  failed(reason: string): void {
    this.#failures.add([this.#plugin, reason])
  }

  async #exchange(
    wisher: Wisher | undefined,
    { origin, address, target, headers, contentType = 'application/json', body }: Errand,
  ): Promise<SidecarAnswer> {
    const { timeoutMs, verify, keepAlive = true, maxBytes = MAX_ANSWER } = this.#options
    const own = ['content-type', contentType, 'accept', 'application/json']
    const answer = await this.#transport.exchange(callerOf(wisher), {
      origin,
      address,
      method: 'POST',
      target,
      headers: [...operatorFields(headers), ...own, ...(keepAlive === false ? ['connection', 'close'] : [])],
      body,
      clocks: { connect: timeoutMs, send: 0, headers: 0, firstContent: 0, idle: 0, total: timeoutMs },
      verify,
      ...(typeof keepAlive === 'object' && { keepAlive }),
    })
    const said = await wholeBody(answer, {
      max: maxBytes,
      tooLarge: () => new UpstreamError('too_large', `the answer is larger than ${maxBytes} bytes`),
      came: bytes => wisher?.buffer?.(bytes),
    })
    // Plugins write down what is said, and tell it to clients and models.
    const secrets = [...headers.values(), ...new URL(target, origin).searchParams.values()]
    return {
      status: answer.status,
      contentType: answer.headers.get('content-type'),
      body: withoutEchoes(said, secrets),
    }
  }
}

/** A request to the service at that URL, whose own arguments count before those of `query`. Throws TypeError for no URL. */
export function errandTo(
  endpoint: string,
  headers: Readonly<Record<string, string>>,
  query: Readonly<Record<string, string>> = {},
): Omit<Errand, 'body'> {
  const url = endpointUrl(endpoint)
  if (url === undefined) throw new TypeError('the endpoint is no URL of http or https')
  for (const [name, value] of Object.entries(query))
    if (!url.searchParams.has(name)) url.searchParams.append(name, value)
  const address = `${url.hostname}:${url.port || (url.protocol === 'https:' ? 443 : 80)}`
  return {
    origin: `${url.protocol}//${address}`,
    address,
    target: url.pathname + url.search,
    headers: new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value])),
  }
}

/** A question to a model, with the target's options laid over it (facts ai-plugins 3.2); undefined where there is no such place. */
export function errandOf(target: Target, protocol: Protocol, body: JsonObject): Errand | undefined {
  const sent = shapeBody({ json: body, bytes: undefined }, protocol, target)
  const model = target.options.model ?? body.model
  const wire = target.place?.target(protocol.name, { model, streams: false })
  if (target.place === undefined || wire === undefined) return undefined
  const { origin, address } = target.place
  return { origin, address, target: wire, headers: target.headers, body: sent.bytes }
}

/** Goes when the client goes; what is tried is no attempt at the request's own upstream. */
function callerOf(wisher: Wisher | undefined): Caller {
  if (wisher === undefined) return { attempts: [], aborted: undefined, onAbort() {}, offAbort() {} }
  return {
    attempts: [],
    get aborted() {
      return wisher.aborted
    },
    onAbort: listener => wisher.onAbort(listener),
    offAbort: listener => wisher.offAbort(listener),
  }
}

const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

function openFamilies(metrics: Metrics): { seconds: Histogram; failures: Counter } {
  return {
    seconds: metrics.histogram(
      'sluice_sidecar_seconds',
      'How long calls that plugins make of their own have taken',
      ['plugin'],
      BUCKETS,
    ),
    failures: metrics.counter('sluice_sidecar_failures_total', 'Calls of plugins of their own that were of no use', [
      'plugin',
      'reason',
    ]),
  }
}
