// Batches posted to an HTTP server, one at a time, each within a time; says of an answer only its status. Knows no entry.
import { validateHeaderName, validateHeaderValue } from 'node:http'
import type { LookupFunction } from 'node:net'
import { buildConnector, Client } from 'undici'
import { Refusal, type Sink } from './batches.ts'

export interface HttpSinkOptions {
  /** Absolute URLs; each batch goes to one of them by chance. */
  urls: readonly string[]
  headers: Readonly<Record<string, string>>
  /** Milliseconds for one try, from the connection to the end of the answer. */
  timeoutMs: number
  /** https: refuse a certificate that does not verify. */
  verify: boolean
  /** Milliseconds that an idle connection is kept; 0: no connection is used twice. */
  idleMs?: number
  lookup: LookupFunction | undefined
  random(): number
  /** How many entries an answer says were refused although its status is good. */
  refused?(answer: string): number
  /** Whether a status of 400 or more means that the batch will never be taken; none does without it. */
  final?(status: number): boolean
}

// Below the 5 s after which node:http servers close idle connections.
const IDLE_MS = 4_000
// What is read of an answer: more of it says nothing to us.
const MAX_ANSWER = 1 << 20

/** What is wrong with a URL that batches are to be posted to, or nothing. */
export function checkSinkUrl(url: string): string | undefined {
  if (!URL.canParse(url)) return 'what is to be posted to is not a URL'
  const { protocol, username, password } = new URL(url)
  if (protocol !== 'http:' && protocol !== 'https:') return 'only http:// and https:// can be posted to'
  return username !== '' || password !== '' ? 'a URL cannot have a user name or a password in it' : undefined
}

/** What is wrong with header fields of the user's, or nothing; values are not shown. */
export function checkHeaders(headers: Readonly<Record<string, unknown>> = {}): string | undefined {
  for (const [name, value] of Object.entries(headers)) {
    try {
      validateHeaderName(name)
      validateHeaderValue(name, value as string)
    } catch {
      return `${JSON.stringify(name)} cannot be sent as a header field`
    }
  }
  return undefined
}

export class HttpSink implements Sink {
  readonly #options: HttpSinkOptions
  /** By lower-case name: of fields that were given twice the last counts. */
  readonly #headers: Readonly<Record<string, string>>
  readonly #targets: readonly { readonly url: URL; readonly client: Client }[]

  constructor(options: HttpSinkOptions) {
    this.#options = options
    this.#headers = Object.fromEntries(
      Object.entries(options.headers).map(([name, value]) => [name.toLowerCase(), value]),
    )
    const { timeoutMs, verify, lookup, idleMs = IDLE_MS } = options
    const connect = buildConnector({
      allowH2: false,
      timeout: timeoutMs,
      rejectUnauthorized: verify,
      ...(lookup && { lookup }),
    })
    this.#targets = options.urls.map(text => {
      const url = new URL(text)
      const client = new Client(url.origin, {
        connect,
        allowH2: false,
        // 0 is how undici is told not to use a connection again.
        pipelining: idleMs === 0 ? 0 : 1,
        keepAliveTimeout: Math.max(1, idleMs),
        headersTimeout: 0,
        bodyTimeout: 0,
      })
      return { url, client }
    })
  }

  async send(batch: Buffer, signal: AbortSignal): Promise<number> {
    const { timeoutMs, random, refused, final } = this.#options
    const { url, client } = this.#targets[Math.floor(random() * this.#targets.length)]!
    const where = `host[${url.hostname}] port[${url.port || (url.protocol === 'https:' ? '443' : '80')}]`
    const late = AbortSignal.timeout(timeoutMs)
    try {
      const { statusCode, body } = await client.request({
        method: 'POST',
        path: url.pathname + url.search,
        headers: this.#headers,
        body: batch,
        signal: AbortSignal.any([signal, late]),
      })
      // Not its body: it may repeat what it was sent, credentials included.
      const SaidNo = final?.(statusCode) ? Refusal : SinkError
      const bad = statusCode >= 400 ? new SaidNo(`server returned status code[${statusCode}] ${where}`) : undefined
      if (bad === undefined && refused !== undefined) return refused(await readSome(body))
      // It has been said whether the batch is taken: how the answer goes on changes nothing.
      await body.dump({ limit: MAX_ANSWER }).catch(() => {})
      if (bad !== undefined) throw bad
      return 0
    } catch (error) {
      if (error instanceof SinkError || error instanceof Refusal) throw error
      if (late.aborted) throw new SinkError(`no answer within ${timeoutMs} ms: ${where}`)
      const { code = 'unknown' } = error as NodeJS.ErrnoException
      throw new SinkError(`failed to send: ${code} ${where}`)
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#targets.map(({ client }) => client.destroy()))
  }
}

/** Its message has nothing in it that a sink has said. */
class SinkError extends Error {}

async function readSome(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body) {
    chunks.push(chunk)
    size += chunk.length
    // Leaving the loop ends the connection.
    if (size > MAX_ANSWER) break
  }
  return Buffer.concat(chunks).toString()
}
