// A function of a config, on a request: what it is shown, and what becomes of what it changes; knows no process.
import type { Context } from '../context.ts'
import { GatewayError } from '../errors.ts'
import { fieldValue, isFieldName } from '../field-value.ts'
import type { Logger } from '../observe/log.ts'
import { type HeaderList, type Reply, reply } from '../reply.ts'
import { variable } from '../router/vars.ts'
import { functionFailed, type Returned, type Sandbox } from './sandbox.ts'
import { namesIn } from './source.ts'

export const PHASES = ['rewrite', 'access', 'before_proxy', 'header_filter', 'body_filter', 'log'] as const
export type FunctionPhase = (typeof PHASES)[number]

/** What a function gets as `ctx`. It is a copy; of what it changes, that is taken over which the phase may still change. */
interface View {
  phase: FunctionPhase
  request: { method: string; target: string; host: string; headers: Record<string, string> }
  /** Variables (facts core 1.9) whose names stand in the function's text. */
  var: Record<string, string | number>
  route: { id: string; name: string | undefined } | null
  consumer: { username: string } | null
  reply?: { status: number; headers: Record<string, string> }
  /** A piece of the body, and whether it is the last. */
  body?: string
  last?: boolean
}

export interface FunctionEnv {
  sandbox: Sandbox
  /** Gets what the function writes to its console, and how it failed. */
  log: Logger
  /** Where it stands, for the log. */
  place: object
}

/** A piece of a body for `body_filter`. */
export interface Piece {
  text: string
  last: boolean
}

export class ConfigFunction {
  readonly #source: string
  readonly #names: readonly string[]
  readonly #env: FunctionEnv

  constructor(source: string, env: FunctionEnv) {
    this.#source = source
    this.#names = namesIn(source)
    this.#env = env
  }

  /** Whether it returns something true of a request's variables. Rejects with GatewayError, which is in the log then. */
  test(ctx: Context): Promise<boolean> {
    return this.#logged(ctx, async () => {
      const { value } = await this.#call(ctx, [this.#variables(ctx)])
      return Boolean(value)
    })
  }

  /**
   * Calls it as `(conf, ctx)`. Before the upstream is asked, what it returns may be the answer, and what it changes of the
   * request is changed; of an answer, status and headers. Rejects with GatewayError, which is in the log then.
   */
  run(ctx: Context, phase: FunctionPhase, conf: unknown): Promise<Reply | undefined> {
    return this.#logged(ctx, () => this.#run(ctx, phase, conf))
  }

  /** What takes the place of a piece of the body; undefined when it stays. */
  edit(ctx: Context, conf: unknown, { text, last }: Piece): Promise<string | undefined> {
    return this.#logged(ctx, async () => {
      const { args } = await this.#call(ctx, [conf, { ...this.#view(ctx, 'body_filter'), body: text, last }])
      const after = args[1] as View | null
      if (after === null || after.body === text) return undefined
      if (typeof after.body !== 'string') throw new TypeError('ctx.body of a function is no text')
      return after.body
    })
  }

  async #run(ctx: Context, phase: FunctionPhase, conf: unknown): Promise<Reply | undefined> {
    const shown = this.#view(ctx, phase)
    const { value, args } = await this.#call(ctx, [conf, shown])
    const after = args[1] as View | null
    if (phase === 'header_filter') {
      if (after?.reply !== undefined) changeReply(ctx.reply, shown.reply!, after.reply)
      return undefined
    }
    if (phase === 'log') return undefined
    if (after?.request !== undefined) changeRequest(ctx, shown.request, after.request)
    return value === undefined || value === null ? undefined : replyOf(value)
  }

  async #call(ctx: Context, args: readonly unknown[]): Promise<Returned> {
    const { sandbox, log, place } = this.#env
    const returned = await sandbox.call(this.#source, args)
    for (const line of returned.lines) log.info({ ...place, request_id: ctx.id }, line)
    return returned
  }

  async #logged<T>(ctx: Context, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (thrown) {
      const error = thrown instanceof GatewayError ? thrown : functionFailed(thrown)
      const { log, place } = this.#env
      log.error({ ...place, request_id: ctx.id, err: error }, 'a function of the configuration failed')
      throw error
    }
  }

  #variables(ctx: Context): View['var'] {
    const found: View['var'] = {}
    for (const name of this.#names) {
      const value = variable(ctx, name)
      if (value !== undefined) found[name] = value
    }
    return found
  }

  #view(ctx: Context, phase: FunctionPhase): View {
    const { request, outbound, route, consumer, reply: answer } = ctx
    return {
      phase,
      request: {
        method: outbound.method ?? request.method,
        target: outbound.target ?? request.target,
        host: outbound.host ?? request.host,
        headers: request.headers.toObject(),
      },
      var: this.#variables(ctx),
      route: route === undefined ? null : { id: route.id, name: route.name },
      consumer: consumer === undefined ? null : { username: consumer.username },
      ...(answer !== undefined && { reply: { status: answer.status, headers: answer.headers.toObject() } }),
    }
  }
}

function changeRequest(ctx: Context, before: View['request'], after: View['request']): void {
  if (after.method !== before.method) ctx.outbound.method = matching(after.method, /^[A-Z]{1,32}$/, 'method')
  if (after.target !== before.target) ctx.outbound.target = matching(after.target, /^\/[!-~]*$/, 'target')
  if (after.host !== before.host) ctx.outbound.host = matching(after.host, /^[\w.:[\]-]+$/, 'host')
  changeHeaders(ctx.request.headers, before.headers, after.headers)
}

function changeReply(answer: Reply | undefined, before: NonNullable<View['reply']>, after: unknown): void {
  const { status, headers } = after as NonNullable<View['reply']>
  if (answer === undefined) return
  if (status !== before.status) answer.status = statusOf(status)
  changeHeaders(answer.headers, before.headers, headers)
}

/** Fields that were changed are one field then; the others stay as they came. */
function changeHeaders(headers: HeaderList, before: Record<string, string>, after: unknown): void {
  const now = new Map(Object.entries(fieldsOf(after)))
  for (const name of Object.keys(before)) if (!now.has(name)) headers.delete(name)
  for (const [name, value] of now) if (value !== before[name]) headers.set(name, value)
}

function replyOf(value: unknown): Reply {
  if (typeof value !== 'object' || value === null) {
    throw new TypeError('what a function returned is neither nothing nor { status, body, headers }')
  }
  const { status, body, headers = {} } = value as { status?: unknown; body?: unknown; headers?: unknown }
  const sent = typeof body === 'object' || typeof body === 'string' ? body : body === undefined ? body : String(body)
  return reply(statusOf(status), sent, fieldsOf(headers))
}

function statusOf(status: unknown): number {
  if (Number.isInteger(status) && (status as number) >= 200 && (status as number) <= 599) return status as number
  throw new TypeError('a status that a function gave is no number from 200 to 599')
}

function fieldsOf(headers: unknown): Record<string, string> {
  const entries = typeof headers === 'object' && headers !== null ? Object.entries(headers) : []
  const bad = entries.find(([name]) => !isFieldName(name))
  if (bad !== undefined) throw new TypeError('a header that a function gave has a name that cannot be sent')
  return Object.fromEntries(entries.map(([name, value]) => [name, fieldValue(String(value))]))
}

function matching(value: unknown, pattern: RegExp, what: string): string {
  if (typeof value === 'string' && pattern.test(value)) return value
  throw new TypeError(`request.${what} that a function gave cannot be sent`)
}
