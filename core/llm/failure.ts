// What a failed call looks like to the client: status, code and message, without a word of where the provider is.
import { GatewayError, UpstreamError, type UpstreamFault } from '../errors.ts'
import type { Aborted } from './exchange.ts'

export interface Failure {
  /** 504 for timeouts, 502 for an answer that is too large, else 500 (facts ai-plugins 5.2, 3.5). */
  readonly status: number
  readonly code: string
  readonly message: string
}

const words: Readonly<Record<UpstreamFault, string>> = {
  refused: 'could not connect to the AI service',
  denied: 'the AI service has an address to which nothing may be sent',
  connect_timeout: 'timeout while connecting to the AI service',
  send_timeout: 'the AI service stopped taking the request',
  headers_timeout: 'the AI service did not respond in time',
  first_content_timeout: 'the AI service sent no content in time',
  idle_timeout: 'the AI service stopped sending',
  total_timeout: 'the AI service took too long',
  reset: 'the AI service closed the connection before its answer was complete',
  malformed: 'the AI service sent an answer that cannot be understood',
  too_large: 'the answer of the AI service is too large',
  no_node: 'there is no AI service to ask',
}

/** The operator's own limits have words that clients of APISIX know. */
const limits: Readonly<Partial<Record<Aborted, Failure>>> = {
  max_stream_duration_ms: { status: 504, code: 'max_stream_duration_ms', message: 'max_stream_duration_ms exceeded' },
  max_response_bytes: { status: 502, code: 'max_response_bytes', message: 'max_response_bytes exceeded' },
}

/** Whether it was the operator's limit that ended the call. */
export function isLimit(aborted: Aborted | undefined): boolean {
  return aborted !== undefined && limits[aborted] !== undefined
}

export function failureOf(error: Error, aborted: Aborted | undefined): Failure {
  const limit = aborted && limits[aborted]
  if (limit !== undefined) return limit
  if (aborted === 'incomplete') {
    return {
      status: 500,
      code: 'upstream_incomplete',
      message: 'the AI service ended its stream before it was complete',
    }
  }
  if (error instanceof UpstreamError) {
    const { fault, code } = error
    return { status: fault.endsWith('_timeout') ? 504 : 500, code, message: words[fault] }
  }
  if (error instanceof GatewayError) return { status: error.status, code: error.code, message: error.message }
  return { status: 500, code: 'internal_error', message: 'internal error' }
}
