// One event of an LLM's answer as filters see it, and what a filter of events is; knows no stream and no plugin.
import { GatewayError } from '../errors.ts'
import { sse } from './framing/sse.ts'
import { isObject, type JsonObject } from './json.ts'
import type { AnswerPiece, Protocol, Refusal, TextPlace } from './protocols/protocol.ts'

/** An end of the answer in the client's protocol: with the status while nothing has left, later as an error event. */
export class Refused extends GatewayError {}

/**
 * An end of the answer in the model's place: the client is told in its protocol, as if the model had said it. The status
 * counts while nothing has left; later the stream goes on with it and ends, in order.
 */
export class Denied extends Refused {
  readonly said: Refusal

  constructor(status: number, said: Refusal) {
    super(status, 'denied', said.text)
    this.said = said
  }
}

/**
 * An end of a stream where it stands, in order: the client takes it for the model's own limit of output. Before anything has
 * left it is an error of the protocol.
 */
export class EndsHere extends Refused {
  /** About how many tokens of output have left. */
  readonly outputTokens: number

  constructor(code: string, message: string, outputTokens: number) {
    super(429, code, message)
    this.outputTokens = outputTokens
  }
}

/**
 * Sees every event with data of an answer in the client's protocol, in order; a whole answer (JSON) is one event. What it
 * returns decides: nothing lets the event go on, and what was held before it; `hold` keeps it back, with those before it, in
 * `held` of the next call; a list goes on in the place of all of them. At the end of the stream it is called once more,
 * without an event. What it throws ends the answer: a Refused in its words, anything else as an error of ours.
 */
export type EventFilter = (
  event: AnswerEvent | undefined,
  held: readonly AnswerEvent[],
) => Verdict | void | Promise<Verdict | void>
export type Verdict = 'hold' | readonly AnswerEvent[]

/** Changes nothing: `mapTexts` and `withData` make another event. */
export class AnswerEvent {
  /** The event's name, `message` where it has none. */
  readonly type: string
  readonly data: string
  /** The whole of an answer that is no stream. */
  readonly whole: boolean
  /** As it goes to the client. */
  readonly bytes: Buffer
  readonly #protocol: Protocol
  #json: { value: unknown } | undefined

  private constructor(
    known: Pick<AnswerEvent, 'type' | 'data' | 'whole' | 'bytes'>,
    protocol: Protocol,
    json?: { value: unknown },
  ) {
    this.type = known.type
    this.data = known.data
    this.whole = known.whole
    this.bytes = known.bytes
    this.#protocol = protocol
    this.#json = json
  }

  /** Undefined for bytes without data: a comment, a lone field. They are read only once the next event has come. */
  static ofStream(bytes: Buffer, protocol: Protocol): AnswerEvent | undefined {
    const event = (protocol.framing ?? sse).read(bytes)
    return event && new AnswerEvent({ ...event, whole: false, bytes: Buffer.from(bytes) }, protocol)
  }

  static ofWhole(bytes: Buffer, protocol: Protocol): AnswerEvent {
    return new AnswerEvent({ type: 'message', data: bytes.toString(), whole: true, bytes }, protocol)
  }

  /** The data, where it is a JSON object. Not to be changed. */
  get json(): JsonObject | undefined {
    this.#json ??= { value: parsed(this.data) }
    return isObject(this.#json.value) ? this.#json.value : undefined
  }

  /** The texts for the answer's reader, joined. Throws as `mapTexts` does. */
  get text(): string {
    let all = ''
    this.mapTexts(text => {
      all += text
      return text
    })
    return all
  }

  /** What the event says, arguments of tools included; undefined where nobody knows: of some protocols, and of what is no answer of its own. */
  get pieces(): readonly AnswerPiece[] | undefined {
    const { pieces, isAnswer } = this.#protocol
    const { json, whole } = this
    if (whole && isAnswer !== undefined && (json === undefined || !isAnswer(json))) return undefined
    return json === undefined ? pieces && [] : pieces?.(json)
  }

  /** Of a stream: how the answer ended, or one of several choices, behind which others may go on, or what it used. */
  get isEnd(): boolean {
    return this.json !== undefined && !this.whole && this.#protocol.isEnd?.(this.json) === true
  }

  /**
   * The event with other texts: content, reasoning and refusals of each choice, not the arguments of tools. Throws GatewayError
   * 501 for a protocol whose texts are not known, rather than to find none.
   */
  mapTexts(change: (text: string, place: TextPlace) => string): AnswerEvent {
    const { json } = this
    const { mapTexts, name } = this.#protocol
    if (json === undefined) return this
    if (mapTexts === undefined) {
      throw new GatewayError(501, 'texts_unknown', `the texts of ${name} are not known to this version`)
    }
    const mapped = mapTexts(json, change)
    return mapped === json ? this : this.#with(JSON.stringify(mapped), { value: mapped })
  }

  /** Whether no more of a text comes after this event. */
  endsText(of: string): boolean {
    const { json } = this
    // What is no JSON is the end itself, or nothing.
    return json === undefined || this.#protocol.endsText?.(json, of) === true
  }

  /** The event with other data. */
  withData(data: string): AnswerEvent {
    return this.#with(data)
  }

  #with(data: string, json?: { value: unknown }): AnswerEvent {
    const { type, whole } = this
    const bytes = whole ? Buffer.from(data) : (this.#protocol.framing ?? sse).rewrite(this.bytes, data)
    return new AnswerEvent({ type, data, whole, bytes }, this.#protocol, json)
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
