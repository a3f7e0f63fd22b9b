// One call to an LLM, from the client's body to the reply: the only file that knows all layers.
//
//   exchange: what is known of it  ->  protocol: what the body means  ->  shape-body, fields: what is sent  ->  target: where
//   ->  transport: there and back  ->  event-stream, or the whole body  ->  reply
//
// Where a provider does not speak the client's protocol, a converter stands before shape-body and behind the transport. What
// the provider is asked and what it says is read in its own protocol; only what the client gets is converted. Several targets
// will be a loop around `attempt`: one that fails has left nothing behind and sent nothing to the client.
import type { Context, Upstream } from '../context.ts'
import { asError, ClientGone, GatewayError, UpstreamError } from '../errors.ts'
import type { Answer, Clocks, Transport } from '../proxy/transport.ts'
import { type Reply, readAll, reply } from '../reply.ts'
import { decodeContent, isEncoded } from './content-coding.ts'
import { type Conversion, type Converter, convertAnswer, openConversion } from './converters/converter.ts'
import { findConverter } from './converters/table.ts'
import { Translation } from './converters/translation.ts'
import { EventStream } from './event-stream.ts'
import { type Aborted, type Exchange, exchange as exchangeSlot } from './exchange.ts'
import { type Failure, failureOf, isLimit } from './failure.ts'
import { requestFields, requestSearch, responseFields } from './fields.ts'
import type { Framing } from './framing/framing.ts'
import { sse } from './framing/sse.ts'
import { isObject, type JsonObject } from './json.ts'
import { protocolNamed } from './protocols/detect.ts'
import type { AnswerFacts, Protocol, ProtocolName } from './protocols/protocol.ts'
import { type ShapedBody, shapeBody } from './shape-body.ts'
import type { Place, Target } from './target.ts'
import { estimateTokens, TokenEstimate } from './token-estimate.ts'

export interface CallLimits {
  /** Milliseconds. */
  clocks: Clocks
  /** The whole of a stream, besides `clocks.total`: milliseconds; 0 means no limit. */
  maxStreamMs: number
  /** Bytes of an answer's body; undefined means MAX_WHOLE for whole answers and no limit for streams. */
  maxResponseBytes: number | undefined
}

const NO_PATH =
  'could not resolve upstream path: ensure the route or request body specifies a model, or that override.endpoint includes a path'

/** Whole answers are held in memory. */
const MAX_WHOLE = 64 * 1024 * 1024

export interface CallServices {
  transport: Transport
  /** Counts an attempt as under way until the returned function is called. */
  enter(ctx: Context, call: Exchange): () => void
  /** Told once of an attempt that did not come to its end. */
  cut(ctx: Context, call: Exchange, reason: string): void
}

/** Makes the upstream that asks `target`. The request must carry an exchange (`openExchange`). */
export function llmCall(target: Target, limits: CallLimits, services: CallServices): Upstream {
  const { name, paths } = target.provider
  return {
    async send(ctx) {
      const call = exchangeSlot.get(ctx)
      if (call === undefined) throw new Error('an LLM call without an exchange')
      const passes = call.protocol === 'passthrough'
      const speaks = (name: ProtocolName) => name === 'passthrough' || paths[name] !== undefined
      const converter = speaks(call.protocol) ? undefined : findConverter(call.protocol, speaks)
      const speaker = protocolNamed(call.protocol)
      const protocol = converter === undefined ? speaker : protocolNamed(converter.to)
      if (speaker === undefined || protocol === undefined || !speaks(protocol.name)) {
        const supported = Object.keys(paths).join(', ')
        return reply(400, `provider ${name} does not support ${call.protocol} protocol (supported: ${supported})`)
      }
      const { place } = target
      if (place === undefined) {
        const message = `override.endpoint does not say where provider ${name} is`
        return errorReply(speaker, { status: 500, code: 'no_endpoint', message })
      }
      // Plugins may have put another body in the place of the one that the access phase saw.
      const bytes = await ctx.body.bytes(Number.POSITIVE_INFINITY)
      const json = bytes.length === 0 ? undefined : await ctx.body.json(Number.POSITIVE_INFINITY)
      // What is passed through may be a list, or nothing at all.
      if (!isObject(json) && !passes)
        throw new GatewayError(400, 'body_not_json', 'the request body is not a JSON object')
      const client = { json: isObject(json) ? json : undefined, bytes }
      const means = { speaker, protocol, converter, target, place, limits, services }
      return await new Attempt(ctx, call, means).run(client)
    },
  }
}

const saysNothing: AnswerFacts = { usage: undefined, text: undefined, hasToolCalls: false }

interface Means {
  /** The client's protocol. */
  readonly speaker: Protocol
  /** The provider's: the same one, unless there is a converter between the two. */
  readonly protocol: Protocol
  readonly converter: Converter | undefined
  readonly target: Target
  readonly place: Place
  readonly limits: CallLimits
  readonly services: CallServices
}

/** One try at one target. Its hold and its books are closed when the answer's body has ended or the try has failed. */
class Attempt {
  readonly #ctx: Context
  readonly #call: Exchange
  readonly #means: Means
  readonly #started = performance.now()
  #conversion: Conversion | undefined
  #settle: (() => void) | undefined
  /** The total clock is max_stream_duration_ms. */
  #streamLimited = false

  constructor(ctx: Context, call: Exchange, means: Means) {
    this.#ctx = ctx
    this.#call = call
    this.#means = means
  }

  async run({ json, bytes }: { json: JsonObject | undefined; bytes: Buffer }): Promise<Reply> {
    const ctx = this.#ctx
    const call = this.#call
    const { speaker, protocol, target, place, services } = this.#means
    const client: ShapedBody = { json: json ?? {}, bytes }
    call.model = target.options.model ?? client.json.model ?? call.requestModel
    call.instance = target.instance
    const hold = ctx.hold('llm_active_connections', services.enter(ctx, call))
    this.#settle = () => hold.settle()
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
        return reply(400, { error_msg: NO_PATH })
      }
      answer = await this.#ask(sent, wire, streams)
      return await (isEventStream(answer, protocol.framing) ? this.#stream(answer, client, sent) : this.#whole(answer))
    } catch (thrown) {
      const error = asError(thrown)
      this.#over(error, call.aborted ?? (answer === undefined ? undefined : 'read_error'))
      if (!(error instanceof UpstreamError)) throw error
      const failure = failureOf(error, call.aborted)
      const attempt = ctx.attempts.at(-1)
      if (attempt !== undefined && answer === undefined) attempt.status = failure.status
      return isLimit(call.aborted) ? reply(failure.status, failure.message) : errorReply(speaker, failure)
    }
  }

  #shape(client: ShapedBody): ShapedBody {
    const { protocol, converter, target } = this.#means
    if (converter === undefined) return shapeBody(client, protocol, target)
    this.#conversion = openConversion(converter, client.json, this.#call.model)
    return shapeBody({ bytes: undefined, json: this.#conversion.body }, protocol, target)
  }

  async #ask(sent: ShapedBody, wire: string, streams: boolean): Promise<Answer> {
    const { protocol, target, place, limits, services } = this.#means
    const { auth } = target
    const method = protocol.name === 'passthrough' ? this.#ctx.request.method : 'POST'
    const unsigned = { method, host: place.hostHeader, target: wire, body: sent.bytes }
    const proof = auth === undefined ? undefined : await auth.fields(unsigned, this.#ctx)
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

  /** The client's own path and query, or those that a plugin has put in their place. */
  #passage(): string {
    const { request, outbound } = this.#ctx
    const { place } = this.#means
    if (outbound.target === undefined) return place.passage(request.path, requestSearch(this.#ctx, request.search))
    const [path, ...search] = outbound.target.split('?')
    return place.passage(path!, requestSearch(this.#ctx, search.join('?')))
  }

  /** Reads the answer to its end before anything is said to the client, so that a break in it can be told honestly. */
  async #whole({ status, headers, body }: Answer): Promise<Reply> {
    const call = this.#call
    const { protocol, limits } = this.#means
    body.contentSeen()
    const max = limits.maxResponseBytes ?? MAX_WHOLE
    const tooLarge = () => {
      call.aborted = 'max_response_bytes'
      return new UpstreamError('too_large', `the answer is larger than ${max} bytes`)
    }
    if (Number(headers.get('content-length')) > max) {
      const error = tooLarge()
      body.cancel(error)
      throw error
    }
    const raw = body.whole() ?? (await readAll(body, max, tooLarge))
    if (raw.length > max) throw tooLarge()
    this.#ctx.buffer(raw.length)
    const coding = headers.get('content-encoding')
    const bytes = isEncoded(coding) ? await decoded(raw, coding, { max, tooLarge }) : raw
    const json = status < 400 || this.#conversion !== undefined ? parsed(bytes) : undefined
    const { usage, text, hasToolCalls, failed } = status < 400 ? protocol.answerFacts(json) : saysNothing
    call.usage = usage
    call.hasToolCalls = hasToolCalls
    if (call.logging.payloads) call.responseText = text
    const meant = typeof failed === 'number' ? failed : status
    const converted = this.#conversion && convertAnswer(this.#conversion, json, meant)
    if (call.countsText && usage === undefined && text !== undefined) call.textEstimate = estimateTokens([text])
    this.#over(undefined, failed === undefined ? undefined : 'upstream_error')
    call.timeToFirstTokenMs = call.upstreamMs
    const shown = responseFields(headers)
    if (converted !== undefined) shown.set('Content-Type', 'application/json')
    return { status: meant, headers: shown, body: converted ?? bytes, source: 'upstream' }
  }

  /** Answers as soon as there is something to send; what fails before that can still be told with a status. */
  async #stream({ status, headers, body }: Answer, client: ShapedBody, sent: ShapedBody): Promise<Reply> {
    const call = this.#call
    const { speaker, protocol, target, limits } = this.#means
    if (isEncoded(headers.get('content-encoding'))) {
      const error = new UpstreamError('malformed', 'the stream is compressed, which was not asked for')
      body.cancel(error)
      this.#over(error, 'read_error')
      const message = 'the AI service sent a compressed stream'
      return errorReply(speaker, { status: 502, code: 'upstream_compressed_stream', message })
    }
    call.streaming = true
    const counting = target.provider.counting?.[protocol.name]
    const reader = protocol.openReader(sent.json, call.logging.payloads, counting)
    if (call.countsText) reader.estimate = new TokenEstimate()
    const stream = new EventStream(body, {
      reader,
      framing: protocol.framing,
      translation: this.#conversion && new Translation(this.#conversion, reader),
      hidesUsage:
        this.#conversion === undefined &&
        protocol.isStreaming(client.json) &&
        !protocol.asksForUsage(client.json) &&
        protocol.asksForUsage(sent.json),
      maxBytes: limits.maxResponseBytes ?? Number.POSITIVE_INFINITY,
      firstData: () => {
        call.timeToFirstTokenMs = this.#elapsed()
      },
      over: (error, aborted) => {
        call.usage = reader.usage
        call.textEstimate = reader.estimate?.tokens ?? 0
        call.hasToolCalls = reader.hasToolCalls
        call.responseText = reader.text
        this.#over(error, aborted)
      },
      errorEvent: error => speaker.errorEvent(failureOf(error, call.aborted), reader.sequence),
    })
    await stream.opened
    return { status, headers: responseFields(headers), body: stream, source: 'upstream' }
  }

  /** Closes the books, once. */
  #over(error: Error | undefined, aborted: Aborted | undefined): void {
    if (this.#settle === undefined) return
    const call = this.#call
    call.upstreamMs = this.#elapsed()
    call.done = true
    call.aborted = error === undefined ? aborted : this.#why(error, aborted)
    call.cutBy = cutBy(error, call.aborted)
    if (call.cutBy !== undefined) this.#means.services.cut(this.#ctx, call, call.cutBy)
    // That the client left is the kernel's to say.
    if (error !== undefined && !(error instanceof ClientGone)) this.#ctx.error ??= error
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

/** The most that can be said in one word. */
function cutBy(error: Error | undefined, aborted: Aborted | undefined): string | undefined {
  if (aborted !== undefined && aborted !== 'read_error') return aborted
  if (error instanceof UpstreamError) return error.fault
  return error === undefined ? aborted : 'error'
}

async function decoded(
  raw: Buffer,
  coding: string | undefined,
  { max, tooLarge }: { max: number; tooLarge: () => Error },
): Promise<Buffer> {
  try {
    return await decodeContent(raw, coding, max)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge()
    throw new UpstreamError('malformed', 'the answer could not be decompressed', { cause })
  }
}

/** Chosen by the answer, whatever was asked for. An error is read whole, so that it reaches the client as it is. */
function isEventStream({ status, headers }: Answer, { mediaType }: Framing = sse): boolean {
  return status < 400 && headers.get('content-type')?.toLowerCase().includes(mediaType) === true
}

/** Of two limits the one that ends first; 0 is none. */
function shorter(one: number, other: number): number {
  return one === 0 || other === 0 ? one + other : Math.min(one, other)
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    return undefined
  }
}

function errorReply(protocol: Protocol, failure: Failure): Reply {
  return reply(failure.status, protocol.errorBody(failure), { 'Content-Type': 'application/json' })
}
