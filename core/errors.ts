// What can go wrong with a request, and the one function that turns it into an answer; knows no plugin and no transport.
import { STATUS_CODES } from 'node:http'
import { prefersHtml } from './accept.ts'
import { HeaderList, type Reply } from './reply.ts'

/**
 * A broken expectation with a status of its own.
 * `code` is stable and may be relied on by clients (docs/errors.md lists all); `message` is shown to them, `cause` is for the
 * log only.
 */
export class GatewayError extends Error {
  readonly status: number
  readonly code: string
  /** Extra response headers, e.g. Retry-After. */
  readonly headers: Readonly<Record<string, string>>

  constructor(
    status: number,
    code: string,
    message: string,
    options: { cause?: unknown; headers?: Record<string, string> } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'GatewayError'
    this.status = status
    this.code = code
    this.headers = options.headers ?? {}
  }
}

/** The client closed its connection; nobody is there to read an answer. 499 is nginx's status for the log. */
export class ClientGone extends GatewayError {
  constructor() {
    super(499, 'client_gone', 'the client closed the connection')
    this.name = 'ClientGone'
  }
}

/** Why an exchange with an upstream failed. `connect*` failures happened before a byte of the request was sent. */
export type UpstreamFault =
  | 'refused'
  | 'denied'
  | 'connect_timeout'
  | 'send_timeout'
  | 'headers_timeout'
  | 'first_content_timeout'
  | 'idle_timeout'
  | 'total_timeout'
  | 'reset'
  | 'malformed'
  | 'too_large'
  | 'no_node'

/**
 * An upstream did not answer, or did not finish its answer. Timeouts are 504, everything else is 502 (facts core 1.7).
 * The message goes to the client and names no address; which upstream it was stands in the context's attempts.
 */
export class UpstreamError extends GatewayError {
  readonly fault: UpstreamFault

  constructor(fault: UpstreamFault, message: string, options: { cause?: unknown; status?: number } = {}) {
    super(options.status ?? (fault.endsWith('_timeout') ? 504 : 502), `upstream_${fault}`, message, options)
    this.name = 'UpstreamError'
    this.fault = fault
  }
}

/** Anything thrown, as an Error. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(`thrown: ${String(thrown)}`)
}

/**
 * The only place where an error becomes a response. A GatewayError keeps its status and message; anything else is a bug:
 * 500 with nothing of it outside. The body is `{"error_msg", "code"}`, or a small HTML page for a client that prefers one.
 */
export function errorReply(thrown: unknown, accept: string | undefined): Reply {
  const known = thrown instanceof GatewayError ? thrown : undefined
  const status = known?.status ?? 500
  const headers = new HeaderList()
  for (const [name, value] of Object.entries(known?.headers ?? {})) headers.set(name, value)
  const title = `${status} ${STATUS_CODES[status] ?? 'Error'}`
  let text: string
  if (prefersHtml(accept)) {
    headers.set('Content-Type', 'text/html; charset=utf-8')
    text = `<html>\r\n<head><title>${title}</title></head>\r\n<body>\r\n<center><h1>${title}</h1></center>\r\n</body>\r\n</html>\r\n`
  } else {
    headers.set('Content-Type', 'application/json')
    text = `${JSON.stringify({ error_msg: known?.message ?? title, code: known?.code ?? 'internal_error' })}\n`
  }
  return { status, headers, body: Buffer.from(text), source: 'gateway' }
}
