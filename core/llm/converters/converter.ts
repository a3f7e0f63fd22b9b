// What a converter is: it speaks one protocol to the client and another to the provider; knows neither providers nor sockets.
import { UpstreamError } from '../../errors.ts'
import type { SseEvent } from '../framing/sse.ts'
import { type JsonObject, shallow } from '../json.ts'
import type { ParsedEvent, ProtocolName } from '../protocols/protocol.ts'
import { tooDeep } from '../shape-body.ts'

export interface Converter {
  /** The client's protocol. */
  readonly from: ProtocolName
  /** The provider's. */
  readonly to: ProtocolName
  /**
   * Begins one call with the client's body. `model` is the one that the provider will be asked for, whatever it is. Throws
   * GatewayError 400 `not_convertible` for a body that cannot be said in the other protocol.
   */
  open(body: JsonObject, model: unknown): Conversion
}

/** One call. What has to be remembered between request and answer is in its closure. */
export interface Conversion {
  /** The body for the provider, before the operator's options are laid over it. */
  readonly body: JsonObject
  /** The fields of the request, a flat list of names and values, as they go to the provider. */
  headers?(fields: readonly string[]): string[]
  /**
   * A whole answer in the client's protocol, or the provider's error, which it is when `status` is 400 or more. `answer` is any
   * JSON, undefined for what is none. Throws UpstreamError when a good status brings what is no answer.
   */
  response(answer: unknown, status: number): JsonObject
  /** What the client gets for one event of the provider. Throws UpstreamError for a stream that cannot be converted. */
  event(event: ParsedEvent): readonly SseEvent[]
  /** What is still to be said when the provider's stream is over and was complete. */
  end(): readonly SseEvent[]
}

/** `open`, with 400 for a body that is nested too deep. */
export function openConversion(converter: Converter, body: JsonObject, model: unknown): Conversion {
  return shallow(() => converter.open(body, model), tooDeep)
}

/** A whole answer as the client gets it. Throws UpstreamError. */
export function convertAnswer(conversion: Conversion, answer: unknown, status: number): Buffer {
  return shallow(
    () => Buffer.from(JSON.stringify(conversion.response(answer, status))),
    () => new UpstreamError('malformed', 'the answer is nested too deep'),
  )
}
