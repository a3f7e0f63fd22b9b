// A guard before the call: what of a request it looks at, and what the client gets in the answer's place (facts ai-plugins
// 15.2, 16.3, 17.3); knows no service.
import type { Context } from '../../context.ts'
import { type Reply, reply } from '../../reply.ts'
import { Denied, Refused } from '../answer-event.ts'
import { withoutAppended } from '../appended-prompts.ts'
import { clientBody } from '../client-body.ts'
import { type Exchange, exchange } from '../exchange.ts'
import { sse } from '../framing/sse.ts'
import { hasTwins } from '../json-twins.ts'
import { isCutShort, type Prompt } from '../prompt.ts'
import { protocolNamed } from '../protocols/detect.ts'
import type { Wisher } from '../sidecar.ts'
import { Asking } from './asking.ts'
import type { GuardLog } from './guarding.ts'
import { type GuardPolicy, Judging, type Opinion } from './judging.ts'
import { type RequestScope, requestTexts } from './request-texts.ts'

/** Of what could not be looked at, as far as it is told. */
const MAX_TYPES = 8

export interface RequestGuard {
  readonly plugin: string
  readonly policy: GuardPolicy
  /** Whether requests are looked at at all. */
  readonly checks: boolean
  readonly scope: RequestScope
  /** What becomes of what cannot be looked at: images, files, whatever is new. */
  readonly notText: 'pass' | 'log' | 'deny'
  /** Types of it that are not denied. */
  readonly notTextAllowed: ReadonlySet<string>
  readonly log: Pick<GuardLog, 'info'>
  /** What the client is told where that is denied. */
  readonly deniedText: string
  /** Why a request is skipped that is passed through: nobody knows what it says. */
  readonly unreadable: string
  /** `said` is never empty. Who goes takes the question along. */
  look(ctx: Context, said: readonly Prompt[], wisher: Wisher): Promise<Opinion>
}

type Look = (ctx: Context) => Promise<Reply | undefined> | undefined

export interface RequestHooks {
  access?: Look
  before_proxy?: Look
  log?(ctx: Context): void
}

/**
 * When a request is looked at: in its turn, or while other plugins do their work (`parallel`), and then it is waited for
 * before the call. Global rules are asked before anybody knows that it will be a call, so that theirs look at it then.
 */
export function requestHooks(
  guard: RequestGuard,
  { parallel }: { readonly parallel: boolean },
  { owner }: { readonly owner: { readonly kind: string } },
): RequestHooks {
  const look: Look = ctx => guardRequest(ctx, guard, ctx)
  if (owner.kind === 'global_rule') return { before_proxy: look }
  // Where verdicts have no effect, the request does not wait, nor the question for it.
  if (!parallel || guard.policy.watches) return { access: look }
  const begun = new WeakMap<Context, { verdict: Promise<Reply | undefined>; asking: Asking }>()
  return {
    access(ctx) {
      const asking = new Asking(ctx)
      const verdict = guardRequest(ctx, guard, asking)
      // Another plugin may end the request before anybody asks.
      verdict.catch(() => {})
      begun.set(ctx, { verdict, asking })
      return undefined
    },
    before_proxy: ctx => begun.get(ctx)?.verdict,
    log: ctx => begun.get(ctx)?.asking.stop(new Error('the request is over')),
  }
}

/** Returns what the client gets instead of an answer. */
async function guardRequest(ctx: Context, guard: RequestGuard, wisher: Wisher): Promise<Reply | undefined> {
  const call = exchange.get(ctx)
  if (call === undefined)
    return skipped(
      ctx,
      guard,
      `no ai instance picked, ${guard.plugin} plugin must be used with ai-proxy or ai-proxy-multi plugin`,
    )
  // Without a body nothing is said: models are listed.
  if (!guard.checks || ctx.body.empty) return undefined
  const { json, bytes } = await clientBody(ctx)
  const protocol = protocolNamed(call.protocol)
  if (protocol === undefined || json === undefined) return skipped(ctx, guard, `unsupported protocol: ${call.protocol}`)
  if (protocol.name === 'passthrough') return skipped(ctx, guard, guard.unreadable)
  const prompts = protocol.prompts(json)
  const { texts, notText } = requestTexts(prompts, withoutAppended(ctx, prompts), guard.scope)
  const judging = new Judging(ctx, call, { side: 'request', streams: call.requestType === 'ai_stream' }, guard.policy)
  try {
    // Nobody means so many, and what is asked stands at their end.
    if (guard.notText !== 'pass' && isCutShort(prompts))
      judging.find({ reason: 'it has more pieces than are looked at', told: guard.deniedText })
    const types = notText.map(({ text }) => text)
    // Of what a key says that stands twice the provider may read the one that is not shown to anybody here.
    if (guard.notText !== 'pass' && hasTwins(bytes, json)) types.push('key_twice')
    const unseen = new Set(types.filter(type => !guard.notTextAllowed.has(type)))
    if (unseen.size > 0) notSeen(ctx, guard, judging, [...unseen].slice(0, MAX_TYPES))
    if (texts.some(({ text }) => text.trim() !== '')) await judging.ask(() => guard.look(ctx, texts, wisher))
    judging.end()
    return undefined
  } catch (error) {
    if (error instanceof Denied) return denial(call, error)
    if (error instanceof Refused) return reply(error.status, error.message)
    throw error
  }
}

/** Throws Denied where that is what is to become of it. */
function notSeen(
  ctx: Context,
  { plugin, notText, deniedText, log }: RequestGuard,
  judging: Judging,
  types: string[],
): void {
  if (notText === 'deny') judging.find({ reason: `what cannot be looked at: ${types.join(', ')}`, told: deniedText })
  else if (notText === 'log')
    log.info(
      { plugin, route: ctx.route?.id, request_id: ctx.id, not_text: types },
      'not all of a request could be looked at',
    )
}

function skipped(ctx: Context, { policy }: RequestGuard, reason: string): Reply | undefined {
  return policy.guarding.skips(ctx, 'request', reason) ? reply(500, reason) : undefined
}

/** The model's refusal, as the client would read it in the answer it waits for. */
function denial({ protocol, requestType }: Exchange, { status, said }: Denied): Reply {
  const speech = protocolNamed(protocol)!
  const streams = requestType === 'ai_stream'
  const type = streams ? (speech.framing ?? sse).mediaType : 'application/json'
  return reply(status, speech.refusal(said, streams), { 'Content-Type': type })
}
