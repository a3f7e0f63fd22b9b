// The decision record of one request: written as bytes when it has logged, read as words when somebody asks; no header value, no query, no body.
import type { Attempt, Context } from '../context.ts'
import { GatewayError } from '../errors.ts'
import type { Hold } from '../holds.ts'
import { type Candidate, type Exchange, exchange, type Tried } from '../llm/exchange.ts'
import type { RecordReader, RecordWriter } from './record.ts'
import { STEPS, type StepName, type Trail, VERDICTS, type Verdict } from './trail.ts'

/** What a request went through. Times are milliseconds, `at` from its beginning; what is not known is left out. */
export interface Decision {
  request_id: string | undefined
  /** When it began. */
  time: string
  method: string
  /** As it was matched, without its query. */
  path: string
  /** Of the response; undefined while there is none. */
  status: number | undefined
  /** Whose response it is. */
  source: 'gateway' | 'upstream' | undefined
  /** `under_way` until the response has closed. */
  ending: (typeof ENDINGS)[number]
  /** Until the response had closed, or until now. */
  ms: number
  bytes_sent: number
  /** The code of what went wrong (docs/errors.md); `internal_error` is a bug, and the error log has it. */
  error: string | undefined
  /** What the path and the host matched; undefined when no route did. */
  route: { id: string; uri: string; host: string; service_id: string | undefined } | undefined
  consumer: string | undefined
  /** Hooks and what lies between them, in the order they began. */
  steps: DecidedStep[]
  /** Exchanges with upstreams. */
  attempts: { address: string; status?: number; connect_ms?: number; header_ms?: number; ms?: number; fault?: string }[]
  llm: LlmDecision | undefined
  /** What was taken, and how it was given back; `open` ones were still held. */
  holds: { kind: string; end: (typeof HOLD_ENDS)[number] }[]
  /** There was more than there is room for. */
  is_cut: boolean
}

export interface DecidedStep {
  step: StepName
  /** Of hooks; the hash of a name that is no plugin's any more. */
  plugin?: string
  at: number
  /** Until the next began. For the last hook that logs, undefined. */
  ms: number | undefined
  verdict: Verdict
}

export interface LlmDecision {
  /** The client's, and the provider's if it is another: then the call was converted. */
  protocol: string
  converted_to: string | undefined
  model: string | undefined
  first_token_ms: number | undefined
  prompt_tokens: number | undefined
  completion_tokens: number | undefined
  attempts: { instance: string; status?: number; ms?: number; reason?: string }[]
  /** For each choice, who could have been asked, and why not. */
  candidates: Candidate[][]
}

const ENDINGS = ['under_way', 'complete', 'client_gone', 'broken'] as const
const SOURCES = [undefined, 'gateway', 'upstream'] as const
const HOLD_ENDS = ['open', 'settled', 'released'] as const

const MAX_LIST = 16
const MAX_CHOICES = 8
const MAX_NAME = 96
const MAX_METHOD = 32

/** The record begins with the id. */
export function putDecision(to: RecordWriter, ctx: Context): void {
  const { request, route, reply, trail } = ctx
  to.text(ctx.knownId)
  to.long(ctx.start)
  to.text(request.method, MAX_METHOD)
  to.text(request.path)
  to.int(reply?.status ?? 0)
  to.byte(SOURCES.indexOf(reply?.source))
  to.byte(ctx.ending === undefined ? 0 : ENDINGS.indexOf(ctx.ending))
  to.short(ctx.ending === undefined ? ctx.elapsed() : ctx.endTick - ctx.startTick)
  to.long(ctx.bodyBytesSent)
  to.text(errorCode(ctx.error))
  to.text(route?.id)
  if (route !== undefined) {
    to.text(route.matchedUri)
    to.text(route.matchedHost)
    to.text(route.service?.id)
  }
  to.text(ctx.consumer?.username)
  putSteps(to, trail, ctx.startTick)
  to.list(ctx.attempts, MAX_LIST, putAttempt)
  const call = exchange.get(ctx)
  to.text(call?.protocol)
  if (call !== undefined) putCall(to, call)
  to.list(ctx.holds, MAX_LIST, putHold)
  to.byte(to.isCut || trail?.isCut === true ? 1 : 0)
}

/** `plugin` knows whose mark it is. */
export function readDecision(from: RecordReader, plugin: (mark: number) => string): Decision {
  const decision: Decision = {
    request_id: from.text(),
    time: new Date(from.long()).toISOString(),
    method: from.text()!,
    path: from.text()!,
    status: from.int() || undefined,
    source: SOURCES[from.byte()],
    ending: ENDINGS[from.byte()]!,
    ms: rounded(from.short()!),
    bytes_sent: from.long(),
    error: from.text(),
    route: readRoute(from),
    consumer: from.text(),
    steps: readSteps(from, plugin),
    attempts: from.list(readAttempt),
    llm: readCall(from),
    holds: from.list(each => ({ kind: each.text()!, end: HOLD_ENDS[each.byte()]! })),
    is_cut: from.byte() === 1,
  }
  return decision
}

/** Whether it is kept longer: no whole answer, the gateway's or the upstream's failure, or one that was made good. */
export function isFailure({ reply, ending, attempts }: Context, call: Exchange | undefined): boolean {
  if (ending !== 'complete' || reply === undefined || reply.status >= 500) return true
  return attempts.length > 1 || attempts[0]?.fault !== undefined || (call !== undefined && call.tries.length > 1)
}

function errorCode(error: unknown): string | undefined {
  if (error === undefined) return undefined
  return error instanceof GatewayError ? error.code : 'internal_error'
}

function readRoute(from: RecordReader): Decision['route'] {
  const id = from.text()
  return id === undefined ? undefined : { id, uri: from.text()!, host: from.text()!, service_id: from.text() }
}

/** Not a list of things: a trail has none. */
function putSteps(to: RecordWriter, trail: Trail | undefined, start: number): void {
  const size = trail?.size ?? 0
  to.byte(size)
  for (let step = 0; step < size; step++) {
    to.byte(trail!.code(step) | (trail!.verdict(step) << 4))
    to.int(trail!.mark(step))
    to.short(trail!.tick(step) - start)
  }
}

function readSteps(from: RecordReader, plugin: (mark: number) => string): DecidedStep[] {
  const read = from.list(each => {
    const code = each.byte()
    const mark = each.int()
    return { step: STEPS[code & 15]!, verdict: VERDICTS[code >> 4]!, mark, at: each.short()! }
  })
  return read.map(({ step, verdict, mark, at }, index) => {
    const next = read[index + 1]?.at
    return {
      step,
      ...(mark !== 0 && { plugin: plugin(mark) }),
      at: rounded(at),
      ms: next === undefined ? undefined : rounded(next - at),
      verdict,
    }
  })
}

function putAttempt(to: RecordWriter, attempt: Attempt): void {
  to.text(attempt.address, MAX_NAME)
  to.int(attempt.status ?? 0)
  to.short(attempt.connectMs)
  to.short(attempt.headerMs)
  to.short(attempt.responseMs)
  to.text(attempt.fault, MAX_NAME)
}

function readAttempt(from: RecordReader): Decision['attempts'][number] {
  return known({
    address: from.text()!,
    status: from.int() || undefined,
    connect_ms: rounded(from.short()),
    header_ms: rounded(from.short()),
    ms: rounded(from.short()),
    fault: from.text(),
  })
}

function putCall(to: RecordWriter, call: Exchange): void {
  to.text(call.spoken === call.protocol ? undefined : call.spoken)
  to.text(typeof call.model === 'string' ? call.model : undefined, MAX_NAME)
  to.short(call.timeToFirstTokenMs)
  to.short(call.usage?.prompt)
  to.short(call.usage?.completion)
  to.list(call.tries, MAX_LIST, putTried)
  to.list(call.choices, MAX_CHOICES, putChoice)
}

function readCall(from: RecordReader): LlmDecision | undefined {
  const protocol = from.text()
  if (protocol === undefined) return undefined
  return {
    protocol,
    converted_to: from.text(),
    model: from.text(),
    first_token_ms: from.short(),
    prompt_tokens: from.short(),
    completion_tokens: from.short(),
    attempts: from.list(readTried),
    candidates: from.list(choice => choice.list(readCandidate)),
  }
}

function putTried(to: RecordWriter, { instance, status, ms, reason }: Tried): void {
  to.text(instance, MAX_NAME)
  to.int(status ?? 0)
  to.short(ms)
  to.text(reason, MAX_NAME)
}

function readTried(from: RecordReader): LlmDecision['attempts'][number] {
  return known({
    instance: from.text()!,
    status: from.int() || undefined,
    ms: from.short(),
    reason: from.text(),
  })
}

function putChoice(to: RecordWriter, choice: readonly Candidate[]): void {
  to.list(choice, MAX_LIST, putCandidate)
}

function putCandidate(to: RecordWriter, { instance, priority, weight, score, skipped }: Candidate): void {
  to.text(instance, MAX_NAME)
  to.short(priority)
  to.short(weight)
  to.short(score)
  to.text(skipped, MAX_NAME)
}

function readCandidate(from: RecordReader): Candidate {
  return {
    instance: from.text()!,
    priority: from.short()!,
    weight: from.short()!,
    score: rounded(from.short()),
    skipped: from.text(),
  }
}

function putHold(to: RecordWriter, hold: Hold): void {
  to.text(hold.kind, MAX_NAME)
  to.byte(hold.ended === undefined ? 0 : HOLD_ENDS.indexOf(hold.ended))
}

/** What is undefined is not said. */
function known<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const said = Object.entries(fields).filter(([, value]) => value !== undefined)
  return Object.fromEntries(said) as { [K in keyof T]: Exclude<T[K], undefined> } // the cast only forgets `undefined`
}

/** Microseconds are as exact as the record is. */
function rounded<T extends number | undefined>(ms: T): T {
  return (ms === undefined ? undefined : Math.round(ms * 1000) / 1000) as T // a number only if it was one
}
