// What an LLM API's protocol is: the meaning of its bodies and events, on plain JSON; knows neither providers nor sockets.
import type { Usage } from '../exchange.ts'
import type { Cut, Framing } from '../framing/framing.ts'
import type { SseEvent } from '../framing/sse.ts'
import type { JsonObject } from '../json.ts'
import type { Prompt } from '../prompt.ts'
import type { TokenEstimate } from '../token-estimate.ts'
import type { Counting } from '../usage.ts'
import type { Said } from './said.ts'

export type ProtocolName =
  | 'openai-chat'
  | 'openai-responses'
  | 'openai-embeddings'
  | 'anthropic-messages'
  | 'bedrock-converse'
  | 'passthrough'
  /** No client speaks it: what embeddings become for Vertex AI. */
  | 'vertex-predict'

/** A message's text, as plugins that look at prompts see it. */
export interface Message {
  readonly role: string
  readonly content: string
}

/** What a whole answer says. */
export interface AnswerFacts {
  readonly usage: Usage | undefined
  /** Undefined when the answer is of a kind that has no text. */
  readonly text: string | undefined
  readonly hasToolCalls: boolean
  /**
   * The answer reports an error although its status does not. A number is the status that it should have had; `true` when
   * clients of the protocol look for the error in the body.
   */
  readonly failed?: number | true | undefined
}

/** A member to be added to a request body. */
export interface Addition {
  readonly key: string
  readonly value: unknown
  /** The same addition made to the body's bytes, which leaves every other byte alone. */
  splice(bytes: Buffer): Buffer
}

/** An error that a protocol puts into words that its clients understand. */
export interface ProtocolError {
  /** HTTP's; what an error is called depends on it. */
  readonly status: number
  /** Stable; for programs. */
  readonly code: string
  readonly message: string
}

/** What a client is told in the place of an answer that it may not have (facts ai-plugins 2.3 to 2.8). */
export interface Refusal {
  readonly text: string
  /** The client's `model`, empty when it named none. */
  readonly model: string
  /** A random UUID. */
  readonly id: string
  /** The provider's own usage object; undefined when nobody was asked. */
  readonly usage: JsonObject | undefined
}

export interface Protocol {
  readonly name: ProtocolName
  /** Of its streams; SSE without it. */
  readonly framing?: Framing
  /** Usage counts what came from a cache, or went into one, beside the prompt and not within it. */
  readonly cacheApart?: true
  /**
   * The member by which the gateway's clients ask for a stream where the API itself has another path for that: it does not
   * go to the provider.
   */
  readonly streamSwitch?: string
  /** The model that a client names in the path (decoded, without query) instead of the body. */
  pathModel?(path: string): string | undefined
  /** Whether the client asks for a stream, by its body or by the path it sends it to (decoded, without query). */
  isStreaming(body: JsonObject, path?: string): boolean
  /** What makes a stream report its usage where the client has not asked for that itself. */
  usageRequest(body: JsonObject): Addition | undefined
  /** Whether a body on its way to the provider asks for usage in the stream. */
  asksForUsage(body: JsonObject): boolean
  messages(body: JsonObject): Message[]
  /** All that a request says, in order, whatever its JSON; what cannot be read is there as `not_text`. Never throws. */
  prompts(body: JsonObject): Prompt[]
  /** The body with messages in front of all others and behind them; the same where the protocol has no room for any. */
  withMessages(body: JsonObject, added: { before: readonly Message[]; after: readonly Message[] }): JsonObject
  endUserId(body: JsonObject): string | undefined
  /** Reads a whole answer; any JSON will do. */
  answerFacts(answer: unknown): AnswerFacts
  /** What a whole answer says of itself. */
  said?(answer: JsonObject): Said
  /** Reads one stream. `request` is the body as it went out; `collectText` keeps the answer's text. */
  openReader(request: JsonObject, collectText: boolean, counting?: Counting): EventReader
  errorBody(error: ProtocolError): JsonObject
  /** An event that tells the client within a stream; `sequence` is the reader's. */
  errorEvent(error: ProtocolError, sequence?: number): Buffer
  /** The bytes of a whole answer, or of a stream that begins and ends with it. */
  refusal(said: Refusal, streaming: boolean): Buffer
  /**
   * An event of a stream, or a whole answer, with other texts for its readers; itself when none has changed. Arguments of
   * tools are none. Where it is missing, filters of text refuse the protocol by name.
   */
  mapTexts?(event: JsonObject, change: (text: string, place: TextPlace) => string): JsonObject
  /** Whether this event is the last of what is `of` that (TextPlace). */
  endsText?(event: JsonObject, of: string): boolean
  /**
   * What an event, or a whole answer, says: texts, reasoning, arguments of tools. Where it is missing, nobody knows what
   * answers say.
   */
  pieces?(event: JsonObject): AnswerPiece[]
  /** Whether a whole answer looks like one of this protocol: of others `pieces` knows nothing. */
  isAnswer?(answer: JsonObject): boolean
  /** Whether an event of a stream says how the answer ended, or one of several choices, or what it used. */
  isEnd?(event: JsonObject): boolean
  /** Follows one stream to the client. Where it is missing there are no streams whose events are known. */
  openBegun?(): BegunStream
}

/** A piece of what an answer says, as guards look at it. */
export interface AnswerPiece {
  readonly kind: 'text' | 'reasoning' | 'tool_arguments'
  /** What belongs together over the events of a stream. */
  readonly of: string
  readonly text: string
  /** The stream has said it before, in pieces. */
  readonly again?: boolean
}

/** Follows what has left of a stream, so that it can be ended where it stands. */
export interface BegunStream {
  /** An event has left whose data are this object. */
  took(event: JsonObject): void
  /** What ends the stream: all of one, where nothing has left. */
  refusal(said: Refusal): Buffer
  /** What ends a stream that has begun as if the model had reached its limit; `outputTokens` is about how many have left. */
  cutOff(outputTokens: number): Buffer
}

/** Where a text of an answer stands. */
export interface TextPlace {
  /** What belongs together over the events of a stream: the content of one choice, its reasoning. */
  readonly of: string
  /** The text is all there is of it, and no piece. */
  readonly whole: boolean
}

/** An event of a stream with what its data say; `json` is undefined when they are no JSON. */
export interface ParsedEvent extends SseEvent {
  readonly json: unknown
}

/** Follows one stream of events. It looks at bytes and parses only where it must: most events are text and pass unparsed. */
export interface EventReader {
  /**
   * Takes what came complete with one read of the socket, as the protocol's own framing cuts it (of SSE: `Frames`). Events
   * that make no sense are passed over.
   */
  read(frames: Cut): void
  /** The same for one event that somebody has parsed already; protocols that are converted have it. */
  takeParsed?(event: ParsedEvent): void
  /** Of the last read: indices of events that carry usage and nothing else, in order. */
  readonly usageOnly: readonly number[]
  /** An event with data has come. */
  readonly dataSeen: boolean
  /** Content, or the end of it, has come; pings and the announcement of a role are none. */
  readonly contentSeen: boolean
  /** The stream has said that it is complete. */
  readonly complete: boolean
  /** The provider has reported an error within the stream. */
  readonly failed: boolean
  /** An event has come that is not what it set out to be: what was in it is lost. */
  readonly malformed?: boolean
  /** The protocol's streams say nothing at their end: an orderly end of the body is one. */
  readonly endsWithBody?: boolean
  /** Where a protocol numbers its events: the number of the next. */
  readonly sequence?: number
  readonly usage: Usage | undefined
  readonly hasToolCalls: boolean
  readonly text: string | undefined
  readonly said?: Said | undefined
  /** Where it is put: the text is counted in it. Readers of protocols that have none leave it alone. */
  estimate?: TokenEstimate | undefined
}
