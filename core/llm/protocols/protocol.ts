// What an LLM API's protocol is: the meaning of its bodies and events, on plain JSON; knows neither providers nor sockets.
import type { Usage } from '../exchange.ts'
import type { Frames } from '../framing/sse.ts'
import type { JsonObject } from '../json.ts'

export type ProtocolName =
  | 'openai-chat'
  | 'openai-responses'
  | 'openai-embeddings'
  | 'anthropic-messages'
  | 'bedrock-converse'
  | 'passthrough'

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
}

/** A member to be added to a request body. */
export interface Addition {
  readonly key: string
  readonly value: unknown
  /** The same addition made to the body's bytes, which leaves every other byte alone. */
  splice(bytes: Buffer): Buffer
}

/** An error as the protocol's clients understand it. */
export interface ProtocolError {
  /** Stable; for programs. */
  readonly code: string
  readonly message: string
}

export interface Protocol {
  readonly name: ProtocolName
  /** Whether the client asks for a stream. */
  isStreaming(body: JsonObject): boolean
  /** What makes a stream report its usage where the client has not asked for that itself. */
  usageRequest(body: JsonObject): Addition | undefined
  /** Whether a body on its way to the provider asks for usage in the stream. */
  asksForUsage(body: JsonObject): boolean
  messages(body: JsonObject): Message[]
  endUserId(body: JsonObject): string | undefined
  /** Reads a whole answer; any JSON will do. */
  answerFacts(answer: unknown): AnswerFacts
  /** Reads one stream. `request` is the body as it went out; `collectText` keeps the answer's text. */
  openReader(request: JsonObject, collectText: boolean): EventReader
  errorBody(error: ProtocolError): JsonObject
  /** An event that tells the client within a stream. */
  errorEvent(error: ProtocolError): Buffer
}

/** Follows one stream of events. It looks at bytes and parses only where it must: most events are text and pass unparsed. */
export interface EventReader {
  /** Takes what came complete with one read of the socket. Events that make no sense are passed over. */
  read(frames: Frames): void
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
  readonly usage: Usage | undefined
  readonly hasToolCalls: boolean
  readonly text: string | undefined
}
