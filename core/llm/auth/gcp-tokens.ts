// Access tokens of Google's for service accounts: asked for once, kept until shortly before they end (facts ai-plugins 5.6).
import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Context } from '../../context.ts'
import { asError, GatewayError } from '../../errors.ts'
import type { Caller, Transport } from '../../proxy/transport.ts'
import { readAll } from '../../reply.ts'
import { isObject } from '../json.ts'
import type { Auth } from './auth.ts'
import { readServiceAccount, type ServiceAccount, statement } from './service-account.ts'

export interface TokenPolicy {
  /** Milliseconds before its end that a token is given up. */
  readonly earlyMs: number
  /** Milliseconds that a token is kept at most. */
  readonly maxMs: number
}

export interface GcpTokensOptions {
  transport: Transport
  /** The service account of configurations that name none, as JSON. */
  account: string | undefined
  /** Milliseconds since the epoch. */
  now(): number
}

interface Kept {
  readonly token: Promise<string>
  /** When to ask anew. */
  until: number
}

const MAX_TOKENS = 4096
/** An account that is refused is asked for again once a second at most, however many requests need it. */
const FAILURE_MS = 1_000
const MAX_ANSWER = 64 * 1024
const CLOCKS = { connect: 5_000, send: 5_000, headers: 10_000, firstContent: 10_000, idle: 10_000, total: 15_000 }

/** One per worker: all that use the same account in the same way share one token. */
export class GcpTokens {
  readonly #options: GcpTokensOptions
  readonly #kept = new LRUCache<string, Kept>({ max: MAX_TOKENS })

  constructor(options: GcpTokensOptions) {
    this.#options = options
  }

  /** `account` is JSON; undefined means the gateway's own. Rejects with a GatewayError that quotes no secret. */
  token(account: string | undefined, policy: TokenPolicy): Promise<string> {
    const { now } = this.#options
    const json = account ?? this.#options.account
    if (json === undefined) return Promise.reject(failed('invalid gcp service account json: there is none'))
    const key = hash('sha256', `${json}\0${policy.earlyMs}\0${policy.maxMs}`)
    const kept = this.#kept.get(key)
    if (kept !== undefined && now() < kept.until) return kept.token
    const asked = this.#ask(json, now())
    const fresh: Kept = { token: asked.then(({ token }) => token), until: Number.POSITIVE_INFINITY }
    this.#kept.set(key, fresh)
    asked.then(
      ({ lifeMs }) => {
        const left = lifeMs > policy.earlyMs ? lifeMs - policy.earlyMs : lifeMs
        fresh.until = now() + Math.min(left, policy.maxMs)
      },
      () => {
        fresh.until = now() + FAILURE_MS
      },
    )
    return fresh.token
  }

  async #ask(json: string, now: number): Promise<{ token: string; lifeMs: number }> {
    let account: ServiceAccount
    try {
      account = readServiceAccount(json)
    } catch (error) {
      throw failed(`invalid gcp service account json: ${asError(error).message}`)
    }
    try {
      return await this.#exchange(account, now)
    } catch (cause) {
      throw failed('failed to get google oauth token', cause)
    }
  }

  async #exchange(account: ServiceAccount, now: number): Promise<{ token: string; lifeMs: number }> {
    const { hostname, port, protocol, pathname, search } = account.tokenUri
    const address = `${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`
    const form = new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
      assertion: await statement(account, now),
    })
    const { status, body } = await this.#options.transport.exchange(nobody(), {
      origin: `${protocol}//${address}`,
      address,
      method: 'POST',
      target: pathname + search,
      headers: ['content-type', 'application/x-www-form-urlencoded', 'accept', 'application/json'],
      body: Buffer.from(String(form)),
      clocks: CLOCKS,
      verify: true,
    })
    const bytes = await readAll(body, MAX_ANSWER, () => new Error('the answer is too large'))
    const answer = parsed(bytes)
    if (status !== 200) throw new Error(`status ${status}${oauthError(answer)}`)
    const { access_token: token, expires_in: seconds = 3600 } = answer
    // It becomes a header field.
    if (typeof token !== 'string' || !/^[!-~]+$/.test(token)) throw new Error('the answer holds no access_token')
    const life = Number(seconds)
    return { token, lifeMs: life > 0 ? life * 1000 : 0 }
  }
}

/** Proves who asks by a token of that account. A request whose client leaves waits no longer; the others do. */
export function gcpAuth(tokens: GcpTokens, account: string | undefined, policy: TokenPolicy): Auth {
  return {
    replaces: ['authorization'],
    fields: async (_, ctx) => ({ authorization: `Bearer ${await whileWanted(ctx, tokens.token(account, policy))}` }),
  }
}

function whileWanted<T>(ctx: Context, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    ctx.onAbort(reject)
    promise.then(resolve, reject).finally(() => ctx.offAbort(reject))
  })
}

/** Nobody in particular asks: the exchange ends by itself or by its clocks. */
function nobody(): Caller {
  return { attempts: [], aborted: undefined, onAbort() {}, offAbort() {} }
}

function failed(reason: string, cause?: unknown): GatewayError {
  return new GatewayError(500, 'gcp_token_failed', `failed to get gcp access token: ${reason}`, { cause })
}

function parsed(bytes: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'))
    return isObject(value) ? value : {}
  } catch {
    return {}
  }
}

/** The code of an OAuth error (RFC 6749 5.2), which is no secret; what else stands there might quote one. */
function oauthError({ error }: Record<string, unknown>): string {
  return typeof error === 'string' && /^[a-z_]{1,64}$/.test(error) ? `, ${error}` : ''
}
