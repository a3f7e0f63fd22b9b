// One try at one target, from the client's body to an answer that has begun or a failure; knows no other target.
//
//   protocol: what the body means  ->  shape-body, fields: what is sent  ->  target: where  ->  transport: there and back
//   ->  event-stream, or the whole body
//
// Where a provider does not speak the client's protocol, a converter stands before shape-body and behind the transport. What
// the provider is asked and what it says is read in its own protocol; only what the client gets is converted.
import type { Context } from '../context.ts'
import { asError, ClientGone, GatewayError, UpstreamError } from '../errors.ts'
import { requestTrace } from '../observe/trace.ts'
import type { Answer, Clocks } from '../proxy/transport.ts'
import { type Reply, reply } from '../reply.ts'
import { AttemptBooks, type CallServices } from './attempt-books.ts'
import type { Auth, Unsigned } from './auth/auth.ts'
import { outputLimitOf } from './charge.ts'
import type { ClientBody } from './client-body.ts'
import { isEncoded } from './content-coding.ts'
import { type Conversion, convertAnswer, openConversion } from './converters/converter.ts'
import { Translation } from './converters/translation.ts'
import { withoutEchoes } from './echoes.ts'
import { EventStream } from './event-stream.ts'
import { type Aborted, beginTry, type Exchange } from './exchange.ts'
import { failureOf, isLimit } from './failure.ts'
import { requestFields, requestSearch, responseFields } from './fields.ts'
import type { Framing } from './framing/framing.ts'
import { sse } from './framing/sse.ts'
import { isObject, type JsonObject } from './json.ts'
import { errorReply, type Failed, failed, type Outcome } from './outcome.ts'
import type { AnswerFacts } from './protocols/protocol.ts'
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
  readonly client: ClientBody
  readonly holdsStart: boolean
}

/**
 * Asks `target` once. `holdsStart`: another target may be asked after this one, so that nothing of a stream leaves before its
 * first content. Throws what is not the target's fault: that the client has left, or a body that cannot be sent.
 */
export function tryTarget(
  ctx: Context,
  call: Exchange,
  client: ClientBody,
  asked: { target: Target; limits: CallLimits; services: CallServices; holdsStart: boolean },
): Outcome | Promise<Outcome> {
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
  return new Attempt(ctx, call, { ...speech, ...asked, place, client }).run()
}

/** Its hold and its books are closed when the answer's body has ended or the try has failed. */
class Attempt {
  readonly #ctx: Context
  readonly #call: Exchange
  readonly #means: Means
  readonly #books: AttemptBooks
  #conversion: Conversion | undefined
  /** By which it was proved who asks. */
  #proof: Readonly<Record<string, string>> = {}

  constructor(ctx: Context, call: Exchange, means: Means) {
    this.#ctx = ctx
    this.#call = call
    this.#means = means
    beginTry(call, means.target.instance)
    call.provider = means.target.provider.name
    call.spoken = means.protocol.name
    call.model = means.target.options.model ?? means.client.json?.model ?? call.requestModel
    this.#books = new AttemptBooks(ctx, call, means.services)
  }

  async run(): Promise<Outcome> {
    const ctx = this.#ctx
    const call = this.#call
    const {
      protocol,
      place,
      client: { json, bytes },
    } = this.#means
    const client: ShapedBody = { json: json ?? {}, bytes }
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
        this.#books.close(undefined, undefined)
        return failed(reply(400, { error_msg: NO_PATH }))
      }
      const refused = call.admissions.length === 0 ? undefined : await this.#refused(sent)
      if (refused !== undefined) {
        this.#books.close(undefined, undefined)
        call.tries.at(-1)!.reason = 'not_admitted'
        return { begun: true, reply: refused }
      }
      answer = await this.#ask(sent, wire, streams)
      if (isEventStream(answer, protocol.framing)) return await this.#stream(answer, { client, sent })
      return await this.#whole(answer)
    } catch (thrown) {
      const error = thrown instanceof ProofFailed ? thrown.why : asError(thrown)
      this.#books.close(error, call.aborted ?? (answer === undefined ? undefined : 'read_error'))
      if (error instanceof UpstreamError) {
        const record = answer === undefined && ctx.attempts.length > earlier ? ctx.attempts.at(-1) : undefined
        return this.#failed(error, record)
      }
      if (thrown instanceof ProofFailed && error instanceof GatewayError && !(error instanceof ClientGone))
        return { begun: false, status: error.status, reply: undefined, error, said: undefined }
      throw error
    }
  }

  async #refused({ json, bytes }: ShapedBody): Promise<Reply | undefined> {
    const { provider, spoken, model, admissions } = this.#call
    for (const admits of admissions) {
      const refusal = await admits({ provider: provider!, spoken: spoken!, model, body: json, bytes: bytes.length })
      if (refusal !== undefined) return refusal
    }
    return undefined
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
    const { protocol, converter } = this.#means
    if (converter === undefined) return shapeBody(client, protocol, this.#targetOf(client.json))
    this.#conversion = openConversion(converter, client.json, this.#call.model)
    const { body } = this.#conversion
    return shapeBody({ bytes: undefined, json: body }, protocol, this.#targetOf(body))
  }

  /** With a limit of output where nobody else has one. */
  #targetOf(body: JsonObject): Target {
    const { target, protocol } = this.#means
    const { outputLimit } = this.#call
    if (outputLimit === undefined) return target
    const limited = target.maxTokens ?? outputLimitOf({ ...body, ...target.options }, protocol.name)
    return limited === undefined ? { ...target, maxTokens: outputLimit } : target
  }

  async #ask(sent: ShapedBody, wire: string, streams: boolean): Promise<Answer> {
    const { protocol, target, place, limits, services } = this.#means
    const method = protocol.name === 'passthrough' ? this.#ctx.request.method : 'POST'
    const unsigned = { method, host: place.hostHeader, target: wire, body: sent.bytes }
    if (target.auth !== undefined) this.#proof = await proved(target.auth, unsigned, this.#ctx)
    const total = streams ? shorter(limits.clocks.total, limits.maxStreamMs) : limits.clocks.total
    this.#books.streamLimited = streams && total === limits.maxStreamMs
    this.#call.upstream = { scheme: place.scheme, host: place.host, path: wire.split('?', 1)[0]! }
    requestTrace.get(this.#ctx)?.beginAttempt(this.#ctx, 'llm')
    const fields = requestFields(this.#ctx, target, this.#proof)
    const headers = this.#conversion?.headers?.(fields) ?? fields
    if (place.pinned) headers.push('host', place.hostHeader)
    return await services.transport.exchange(this.#ctx, {
      origin: place.origin,
      address: place.address,
      method,
      target: wire,
      headers,
      body: sent.bytes.length === 0 ? null : sent.bytes,
      clocks: total === limits.clocks.total ? limits.clocks : { ...limits.clocks, total },
      verify: target.verify,
      ...(place.pinned && { serverName: place.host }),
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
    call.said = status < 400 && isObject(json) ? protocol.said?.(json) : undefined
    call.hasToolCalls = hasToolCalls
    if (call.keepsText) call.responseText = text
    const meant = typeof saysFailed === 'number' ? saysFailed : status
    const converted = this.#conversion && convertAnswer(this.#conversion, json, meant)
    if (call.countsText && usage === undefined && text !== undefined) call.textEstimate = estimateTokens([text])
    this.#books.close(undefined, saysFailed === undefined ? undefined : 'upstream_error')
    call.timeToFirstTokenMs = call.upstreamMs
    const shown = responseFields(headers)
    if (converted !== undefined) shown.set('Content-Type', 'application/json')
    const given: Reply = { status: meant, headers: shown, body: converted ?? bytes, source: 'upstream' }
    if (meant >= 400) given.body = this.#withoutEchoes(converted ?? bytes)
    return meant >= 400 ? failed(given, { said: { headers, body: bytes } }) : { begun: true, reply: given }
  }

  #withoutEchoes(body: Buffer): Buffer {
    return withoutEchoes(body, [...this.#means.target.secrets, ...Object.values(this.#proof)])
  }

  /** Answers as soon as there is something to send; what fails before that can still be told with a status. */
  async #stream(
    { status, headers, body }: Answer,
    { client, sent }: { client: ShapedBody; sent: ShapedBody },
  ): Promise<Outcome> {
    const call = this.#call
    const { speaker, protocol, target, limits, holdsStart } = this.#means
    if (isEncoded(headers.get('content-encoding'))) {
      const error = new UpstreamError('malformed', 'the stream is compressed, which was not asked for')
      body.cancel(error)
      this.#books.close(error, 'read_error')
      const message = 'the AI service sent a compressed stream'
      return failed(errorReply(speaker, { status: 502, code: 'upstream_compressed_stream', message }), { error })
    }
    call.streaming = true
    const counting = target.provider.counting?.[protocol.name]
    const reader = protocol.openReader(sent.json, call.keepsText, counting)
    if (call.countsText) reader.estimate = new TokenEstimate()
    const over = (error: Error | undefined, aborted: Aborted | undefined, delivered: boolean) => {
      call.usage = reader.usage
      call.said = reader.said
      call.textEstimate = delivered ? (reader.estimate?.tokens ?? 0) : 0
      call.hasToolCalls = reader.hasToolCalls
      call.responseText = reader.text
      this.#books.close(error, aborted)
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
        call.timeToFirstTokenMs = this.#books.elapsed()
      },
      over,
      // A frame of AWS's has a checksum, and what proves who asks there is none of it.
      ...(protocol.framing === undefined && { hidden: bytes => this.#withoutEchoes(bytes) }),
      errorEvent: error => speaker.errorEvent(failureOf(error, call.aborted), reader.sequence),
    })
    await stream.opened
    const given: Reply = { status, headers: responseFields(headers), body: stream, source: 'upstream' }
    if (holdsStart && reader.failed) {
      // The client would be told within a 200, by the stream as it is.
      over(undefined, 'upstream_error', false)
      return { begun: false, status: 502, reply: given, error: undefined, said: undefined }
    }
    this.#books.begun = true
    return { begun: true, reply: given }
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

async function proved(auth: Auth, unsigned: Unsigned, ctx: Context): Promise<Readonly<Record<string, string>>> {
  try {
    return await auth.fields(unsigned, ctx)
  } catch (thrown) {
    throw new ProofFailed(asError(thrown))
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
