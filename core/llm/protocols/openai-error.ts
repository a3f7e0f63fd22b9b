// Errors as OpenAI's APIs report them, in bodies and in streams; knows neither which API nor what went wrong.
import { isObject, type JsonObject } from '../json.ts'
import type { ProtocolError } from './protocol.ts'

/** `{"error": {message, type, param, code}}`; types as in facts metering 2. */
export function openaiErrorBody({ status, code, message }: ProtocolError): JsonObject {
  return { error: { message, type: errorType(status, code), param: null, code } }
}

function errorType(status: number, code: string): string {
  if (status >= 500) return 'api_error'
  if (status !== 429) return 'invalid_request_error'
  return code === 'insufficient_quota' ? code : 'rate_limit_error'
}

/**
 * The status of an error that came with a 200, which some gateways send: theirs where it is one (`error.code`,
 * `error.status`), else 502.
 */
export function errorStatus(error: unknown): number {
  const { code, status } = isObject(error) ? error : {}
  return [code, status].find(isErrorStatus) ?? 502
}

function isErrorStatus(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 400 && (value as number) <= 599
}
