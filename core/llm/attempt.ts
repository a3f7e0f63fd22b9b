// One try at one target, from the client's body to an answer that has begun or a failure; knows no other target.
//
//   protocol: what the body means  ->  shape-body, fields: what is sent  ->  target: where  ->  transport: there and back
//   ->  event-stream, or the whole body
//
// Where a provider does not speak the client's protocol, a converter stands before shape-body and behind the transport. What
// the provider is asked and what it says is read in its own protocol; only what the client gets is converted.
import type { Context } from '../context.ts'
import { asError, ClientGone, GatewayError, UpstreamError } from '../errors.ts'
import type { Answer, Clocks, Transport } from '../proxy/transport.ts'
import { type Reply, reply } from '../reply.ts'
import type { Unsigned } from './auth/auth.ts'
import { isEncoded } from './content-coding.ts'
import { type Conversion, convertAnswer, openConversion } from './converters/converter.ts'
import { Translation } from './converters/translation.ts'
import { EventStream } from './event-stream.ts'
import { type Aborted, beginTry, type Exchange } from './exchange.ts'
import { type Failure, failureOf, isLimit } from './failure.ts'
import { requestFields, requestSearch, responseFields } from './fields.ts'
import type { Framing } from './framing/framing.ts'
import { sse } from './framing/sse.ts'
import type { JsonObject } from './json.ts'
import type { AnswerFacts, Protocol } from './protocols/protocol.ts'
import type { Said } from './rest-asked.ts'
import { type ShapedBody, shapeBody } from './shape-body.ts'
import { type Speech, speechOf } from './speech.ts'
import type { Place, Target } from './target.ts'
import { estimateTokens, TokenEstimate } from './token-estimate.ts'
import { parsed, wholeBody } from './whole-body.ts'

export interface CallLimits {
  /** Milliseconds. */
  clocks: Clocks
  /** The whole of a stream, besides `clocks.total`: milliseconds; 0 means no limit. */
  maxStreamMs: number
  /** Bytes of an answer's body; undefined means MAX_WHOLE for whole answers and no limit for streams. */
  maxResponseBytes: number | undefined
}

export interface CallServices {
  transport: Transport
  /** Counts an attempt as under way until the returned function is called. */
  enter(ctx: Context, call: Exchange): () => void
  /** Told once of an attempt that did not come to its end. */
  cut(ctx: Context, call: Exchange, reason: string): void
}

/** The client's body; `json` is undefined for what is no object. */
export interface ClientBody {
  readonly json: JsonObject | undefined
  readonly bytes: Buffer
}

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

const NO_PATH =
  'could not resolve upstream path: ensure the route or request body specifies a model, or that override.endpoint includes a path'

/** Whole answers are held in memory. */
const MAX_WHOLE = 64 * 1024 * 1024

const saysNothing: AnswerFacts = { usage: undefined, text: undefined, hasToolCalls: false }

interface Means extends Speech {
  readonly target: Target
  readonly place: Place
  readonly limits: CallLimits
  readonly services: CallServices
}

/**
 * Asks `target` once. `holdsStart`: another target may be asked after this one, so that nothing of a stream leaves before its
 * first content. Throws what is not the target's fault: that the client has left, or a body that cannot be sent.
 */
export async function tryTarget(
  ctx: Context,
  call: Exchange,
  client: ClientBody,
  asked: { target: Target; limits: CallLimits; services: CallServices; holdsStart: boolean },
): Promise<Outcome> {
  const { provider, place, instance } = asked.target
  const speech = speechOf(call.protocol, provider)
  if (speech === undefined) {
    const supported = Object.keys(provider.paths).join(', ')
    beginTry(call, instance)
    return failed(
      reply(400, `provider ${provider.name} does not support ${call.protocol} protocol (supported: ${supported})`),
    )
  }
  if (place === undefined) {
    const message = `override.endpoint does not say where provider ${provider.name} is`
    beginTry(call, instance)
    return failed(errorReply(speech.speaker, { status: 500, code: 'no_endpoint', message }))
  }
  // What is passed through may be a list, or nothing at all.
  if (client.json === undefined && call.protocol !== 'passthrough')
    throw new GatewayError(400, 'body_not_json', 'the request body is not a JSON object')
  return await new Attempt(ctx, call, { ...speech, ...asked, place }).run(client, asked.holdsStart)
}

function failed(given: Reply, more: { error?: Error; said?: Said } = {}): Failed {
  return { begun: false, status: given.status, reply: given, error: more.error, said: more.said }
}

/** Its hold and its books are closed when the answer's body has ended or the try has failed. */
class Attempt {
  readonly #ctx: Context
  readonly #call: Exchange
  readonly #means: Means
  readonly #started = performance.now()
  #conversion: Conversion | undefined
  #settle: (() => void) | undefined
  /** The total clock is max_stream_duration_ms. */
  #streamLimited = false
  /** The answer is leaving: what breaks it is the request's error. */
  #begun = false

  constructor(ctx: Context, call: Exchange, means: Means) {
    this.#ctx = ctx
    this.#call = call
    this.#means = means
  }

  async run({ json, bytes }: ClientBody, holdsStart: boolean): Promise<Outcome> {
    const ctx = this.#ctx
    const call = this.#call
    const { protocol, target, place, services } = this.#means
    const client: ShapedBody = { json: json ?? {}, bytes }
    beginTry(call, target.instance)
    call.model = target.options.model ?? client.json.model ?? call.requestModel
    const hold = ctx.hold('llm_active_connections', services.enter(ctx, call))
    this.#settle = () => hold.settle()
    const earlier = ctx.attempts.length
    let answer: Answer | undefined
    try {
      // Over what is no object nothing can be laid.
      const sent = json === undefined ? client : this.#shape(client)
      call.toolCount = Array.isArray(sent.json.tools) ? sent.json.tools.length : 0
      call.endUserId = protocol.endUserId(sent.json)
      // The API that has a path of its own for streams is asked by it as the client asked us (facts ai-plugins 3.1).
      const byPath = protocol.streamSwitch !== undefined
      const streams = byPath ? call.requestType === 'ai_stream' : protocol.isStreaming(sent.json)
      const passes = protocol.name === 'passthrough'
      const wire = passes ? this.#passage() : place.target(protocol.name, { model: call.model, streams })
      if (wire === undefined) {
        this.#over(undefined, undefined)
        return failed(reply(400, { error_msg: NO_PATH }))
      }
      answer = await this.#ask(sent, wire, streams)
      if (isEventStream(answer, protocol.framing)) return await this.#stream(answer, { client, sent, holdsStart })
      return await this.#whole(answer)
    } catch (thrown) {
      const error = thrown instanceof ProofFailed ? thrown.why : asError(thrown)
      this.#over(error, call.aborted ?? (answer === undefined ? undefined : 'read_error'))
      if (error instanceof UpstreamError) {
        const record = answer === undefined && ctx.attempts.length > earlier ? ctx.attempts.at(-1) : undefined
        return this.#failed(error, record)
      }
      if (thrown instanceof ProofFailed && error instanceof GatewayError && !(error instanceof ClientGone))
        return { begun: false, status: error.status, reply: undefined, error, said: undefined }
      throw error
    }
  }

  #failed(error: UpstreamError, record: { status: number | undefined } | undefined): Failed {
    const { aborted } = this.#call
    const failure = failureOf(error, aborted)
    if (record !== undefined) record.status = failure.status
    const { speaker } = this.#means
    const told = isLimit(aborted) ? reply(failure.status, failure.message) : errorReply(speaker, failure)
    return failed(told, { error })
  }

  #shape(client: ShapedBody): ShapedBody {
    const { protocol, converter, target } = this.#means
    if (converter === undefined) return shapeBody(client, protocol, target)
    this.#conversion = openConversion(converter, client.json, this.#call.model)
    return shapeBody({ bytes: undefined, json: this.#conversion.body }, protocol, target)
  }

  async #ask(sent: ShapedBody, wire: string, streams: boolean): Promise<Answer> {
    const { protocol, target, place, limits, services } = this.#means
    const method = protocol.name === 'passthrough' ? this.#ctx.request.method : 'POST'
    const proof = await this.#proof({ method, host: place.hostHeader, target: wire, body: sent.bytes })
    const total = streams ? shorter(limits.clocks.total, limits.maxStreamMs) : limits.clocks.total
    this.#streamLimited = streams && total === limits.maxStreamMs
    this.#call.upstream = { scheme: place.scheme, host: place.host, path: wire.split('?', 1)[0]! }
    const headers = requestFields(this.#ctx, target, proof)
    return await services.transport.exchange(this.#ctx, {
      origin: place.origin,
      address: place.address,
      method,
      target: wire,
      headers: this.#conversion?.headers?.(headers) ?? headers,
      body: sent.bytes.length === 0 ? null : sent.bytes,
      clocks: { ...limits.clocks, total },
      verify: target.verify,
      ...(typeof target.keepAlive === 'object' && { keepAlive: target.keepAlive }),
      marksContent: streams,
    })
  }

  async #proof(unsigned: Unsigned): Promise<Readonly<Record<string, string>> | undefined> {
    try {
      return await this.#means.target.auth?.fields(unsigned, this.#ctx)
    } catch (thrown) {
      throw new ProofFailed(asError(thrown))
    }
  }

  /** The client's own path and query, or those that a plugin has put in their place. */
  #passage(): string {
    const { request, outbound } = this.#ctx
    const { place } = this.#means
    if (outbound.target === undefined) return place.passage(request.path, requestSearch(this.#ctx, request.search))
    const [path, ...search] = outbound.target.split('?')
    return place.passage(path!, requestSearch(this.#ctx, search.join('?')))
  }

  /** Reads the answer to its end before anything is said to the client, so that a break in it can be told honestly. */
  async #whole(answer: Answer): Promise<Outcome> {
    const call = this.#call
    const { status, headers } = answer
    const { protocol, limits } = this.#means
    const max = limits.maxResponseBytes ?? MAX_WHOLE
    const bytes = await wholeBody(answer, {
      max,
      tooLarge() {
        call.aborted = 'max_response_bytes'
        return new UpstreamError('too_large', `the answer is larger than ${max} bytes`)
      },
      came: length => this.#ctx.buffer(length),
    })
    const json = status < 400 || this.#conversion !== undefined ? parsed(bytes) : undefined
    const { usage, text, hasToolCalls, failed: saysFailed } = status < 400 ? protocol.answerFacts(json) : saysNothing
    call.usage = usage
    call.hasToolCalls = hasToolCalls
    if (call.logging.payloads) call.responseText = text
    const meant = typeof saysFailed === 'number' ? saysFailed : status
    const converted = this.#conversion && convertAnswer(this.#conversion, json, meant)
    if (call.countsText && usage === undefined && text !== undefined) call.textEstimate = estimateTokens([text])
    this.#over(undefined, saysFailed === undefined ? undefined : 'upstream_error')
    call.timeToFirstTokenMs = call.upstreamMs
    const shown = responseFields(headers)
    if (converted !== undefined) shown.set('Content-Type', 'application/json')
    const given: Reply = { status: meant, headers: shown, body: converted ?? bytes, source: 'upstream' }
    return meant >= 400 ? failed(given, { said: { headers, body: bytes } }) : { begun: true, reply: given }
  }

  /** Answers as soon as there is something to send; what fails before that can still be told with a status. */
  async #stream(
    { status, headers, body }: Answer,
    { client, sent, holdsStart }: { client: ShapedBody; sent: ShapedBody; holdsStart: boolean },
  ): Promise<Outcome> {
    const call = this.#call
    const { speaker, protocol, target, limits } = this.#means
    if (isEncoded(headers.get('content-encoding'))) {
      const error = new UpstreamError('malformed', 'the stream is compressed, which was not asked for')
      body.cancel(error)
      this.#over(error, 'read_error')
      const message = 'the AI service sent a compressed stream'
      return failed(errorReply(speaker, { status: 502, code: 'upstream_compressed_stream', message }), { error })
    }
    call.streaming = true
    const counting = target.provider.counting?.[protocol.name]
    const reader = protocol.openReader(sent.json, call.logging.payloads, counting)
    if (call.countsText) reader.estimate = new TokenEstimate()
    const over = (error: Error | undefined, aborted: Aborted | undefined, delivered: boolean) => {
      call.usage = reader.usage
      call.textEstimate = delivered ? (reader.estimate?.tokens ?? 0) : 0
      call.hasToolCalls = reader.hasToolCalls
      call.responseText = reader.text
      this.#over(error, aborted)
    }
    const stream = new EventStream(body, {
      reader,
      framing: protocol.framing,
      translation: this.#conversion && new Translation(this.#conversion, reader),
      holdsStart,
      hidesUsage:
        this.#conversion === undefined &&
        protocol.isStreaming(client.json) &&
        !protocol.asksForUsage(client.json) &&
        protocol.asksForUsage(sent.json),
      maxBytes: limits.maxResponseBytes ?? Number.POSITIVE_INFINITY,
      firstData: () => {
        call.timeToFirstTokenMs = this.#elapsed()
      },
      over,
      errorEvent: error => speaker.errorEvent(failureOf(error, call.aborted), reader.sequence),
    })
    await stream.opened
    const given: Reply = { status, headers: responseFields(headers), body: stream, source: 'upstream' }
    if (holdsStart && reader.failed) {
      // The client would be told within a 200, by the stream as it is.
      over(undefined, 'upstream_error', false)
      return { begun: false, status: 502, reply: given, error: undefined, said: undefined }
    }
    this.#begun = true
    return { begun: true, reply: given }
  }

  /** Closes the books, once. */
  #over(error: Error | undefined, aborted: Aborted | undefined): void {
    if (this.#settle === undefined) return
    const call = this.#call
    call.upstreamMs = this.#elapsed()
    call.done = true
    call.aborted = error === undefined ? aborted : this.#why(error, aborted)
    call.cutBy = cutBy(error, call.aborted)
    Object.assign(call.tries.at(-1)!, { ms: call.upstreamMs, reason: call.cutBy })
    if (call.cutBy !== undefined) this.#means.services.cut(this.#ctx, call, call.cutBy)
    // That the client left is the kernel's to say.
    if (this.#begun && error !== undefined && !(error instanceof ClientGone)) this.#ctx.error ??= error
    this.#settle()
    this.#settle = undefined
    for (const listener of call.over) listener(call)
  }

  #why(error: Error, aborted: Aborted | undefined): Aborted | undefined {
    if (error instanceof ClientGone) return 'client_disconnect'
    const tookTooLong = error instanceof UpstreamError && error.fault === 'total_timeout'
    return tookTooLong && this.#streamLimited ? 'max_stream_duration_ms' : aborted
  }

  #elapsed(): number {
    return Math.floor(performance.now() - this.#started)
  }
}

/** Nothing was sent, for it could not be proved who asks. */
class ProofFailed extends Error {
  readonly why: Error

  constructor(why: Error) {
    super('no proof')
    this.why = why
  }
}

/** The most that can be said in one word. */
function cutBy(error: Error | undefined, aborted: Aborted | undefined): string | undefined {
  if (aborted !== undefined && aborted !== 'read_error') return aborted
  if (error instanceof UpstreamError) return error.fault
  return error === undefined ? aborted : 'error'
}

/** Chosen by the answer, whatever was asked for. An error is read whole, so that it reaches the client as it is. */
function isEventStream({ status, headers }: Answer, { mediaType }: Framing = sse): boolean {
  return status < 400 && headers.get('content-type')?.toLowerCase().includes(mediaType) === true
}

/** Of two limits the one that ends first; 0 is none. */
function shorter(one: number, other: number): number {
  return one === 0 || other === 0 ? one + other : Math.min(one, other)
}

function errorReply(protocol: Protocol, failure: Failure): Reply {
  return reply(failure.status, protocol.errorBody(failure), { 'Content-Type': 'application/json' })
}
