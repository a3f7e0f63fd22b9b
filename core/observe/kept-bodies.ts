// Bodies that a logger keeps until the request is logged, each cut at a cap (facts core C.1); knows not what a line says.
import { contentEncoding, decode } from '../content-encoding.ts'
import type { Context } from '../context.ts'
import type { Awaitable, Hooks } from '../plugin.ts'
import type { Filter, Reply } from '../reply.ts'
import { compileExpr, type Expr } from '../router/expr.ts'
import { variable } from '../router/vars.ts'
import { formatAsksFor, type LoggedBody } from './log-entry.ts'

/** What a logger's config says of bodies; `max_*` are bytes. */
export interface BodiesConfig {
  log_format?: unknown
  include_req_body: boolean
  include_req_body_expr?: unknown[]
  include_resp_body: boolean
  include_resp_body_expr?: unknown[]
  max_req_body_bytes: number
  max_resp_body_bytes: number
}

/** What was kept of a request for its line. */
interface Kept {
  request?: LoggedBody
  response?: Collected
}

interface Collected {
  readonly chunks: Buffer[]
  readonly encoding: string | undefined
  size: number
  truncated: boolean
}

export class KeptBodies {
  readonly #config: BodiesConfig
  readonly #requestExpr: Expr | undefined
  readonly #responseExpr: Expr | undefined
  readonly #kept = new WeakMap<Context, Kept>()

  constructor(config: BodiesConfig) {
    this.#config = config
    this.#requestExpr = config.include_req_body_expr && compileExpr(config.include_req_body_expr)
    this.#responseExpr = config.include_resp_body_expr && compileExpr(config.include_resp_body_expr)
  }

  /** The hooks that keep what the config asks for; none where it asks for nothing. */
  hooks(): Hooks {
    const { include_req_body, include_resp_body, log_format } = this.#config
    return {
      ...((include_req_body || formatAsksFor(log_format, 'request_body')) && {
        access: (ctx: Context) => this.#keepRequest(ctx),
      }),
      ...(include_resp_body && { body_filter: (ctx: Context, reply: Reply) => this.#collect(ctx, reply) }),
    }
  }

  request(ctx: Context): LoggedBody | undefined {
    return this.#kept.get(ctx)?.request
  }

  /** Decompressed where that can be done; otherwise as it is. */
  response(ctx: Context): Awaitable<LoggedBody | undefined> {
    const collected = this.#kept.get(ctx)?.response
    if (collected === undefined) return undefined
    const { chunks, encoding, truncated } = collected
    const raw = Buffer.concat(chunks)
    const coding = contentEncoding(encoding) ?? 'identity'
    if (coding === 'identity') return { text: raw.toString(), truncated }
    return decode(raw, coding, this.#config.max_resp_body_bytes)
      .catch(() => raw)
      .then(plain => ({ text: plain.toString(), truncated }))
  }

  #keep(ctx: Context, part: Kept): void {
    this.#kept.set(ctx, { ...this.#kept.get(ctx), ...part })
  }

  #keepRequest(ctx: Context): void | Promise<void> {
    const max = this.#config.max_req_body_bytes
    if (this.#requestExpr?.test(name => variable(ctx, name)) === false) return undefined
    const { body } = ctx
    if (body.empty) return undefined
    if (body.replayable) return this.#keep(ctx, { request: cut(body.outgoing() as Buffer, max) })
    // Reading on would take the body away from the upstream, or hold it all: what is longer is only said to be there.
    if (body.declaredLength === undefined || body.declaredLength > max)
      return this.#keep(ctx, { request: { text: undefined, truncated: true } })
    return body.bytes(max).then(whole => this.#keep(ctx, { request: cut(whole, max) }))
  }

  #collect(ctx: Context, reply: Reply): Filter | undefined {
    if (this.#responseExpr?.test(name => variable(ctx, name)) === false) return undefined
    const max = this.#config.max_resp_body_bytes
    const encoding = reply.headers.get('content-encoding')
    const collected: Collected = { chunks: [], encoding, size: 0, truncated: false }
    this.#keep(ctx, { response: collected })
    return chunk => {
      const taken = Math.min(chunk.length, max - collected.size)
      if (taken < chunk.length) collected.truncated = true
      // Copied: a slice would keep the whole read it is part of.
      if (taken > 0) collected.chunks.push(Buffer.from(chunk.subarray(0, taken)))
      collected.size += taken
    }
  }
}

function cut(body: Buffer, max: number): LoggedBody {
  return { text: body.toString('utf8', 0, max), truncated: body.length > max }
}
