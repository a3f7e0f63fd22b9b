// What the content moderations do alike with requests and answers (facts ai-plugins 15, 16): who is looked at, when, and what
// becomes of it; knows no service.
import type { Context } from '../../context.ts'
import type { Infer } from '../../json-schema.ts'
import type { Metrics } from '../../observe/metrics.ts'
import type { EventFilter } from '../answer-event.ts'
import type { Exchange } from '../exchange.ts'
import type { Prompt, PromptRole } from '../prompt.ts'
import { joined } from '../prompts.ts'
import type { Wisher } from '../sidecar.ts'
import { guardAnswer } from './answer-guard.ts'
import type { moderationAttributes } from './guard-config.ts'
import { Guarding, type GuardLog, type GuardSide } from './guarding.ts'
import type { GuardPolicy, Opinion } from './judging.ts'
import { type RequestHooks, requestHooks } from './request-guard.ts'

export type ModerationConfig = Infer<{
  readonly type: 'object'
  readonly properties: typeof moderationAttributes
}> & { readonly request_check_roles: readonly PromptRole[]; readonly request_check_mode: 'last' | 'all' }

export interface Asked {
  readonly side: GuardSide
  /** Who goes takes the question along. */
  readonly wisher: Wisher
}

export interface Moderation {
  readonly plugin: string
  /** Where `not_text` denies and no `deny_message` says how. */
  readonly deniedText: string
  /** What becomes of what could not be judged. */
  readonly failure: GuardPolicy['failure']
  look(ctx: Context, asked: Asked, content: string): Promise<Opinion>
}

export interface ModerationHooks extends RequestHooks {
  event_filter(ctx: Context, call: Exchange): EventFilter | undefined
}

export function moderationHooks(
  { plugin, deniedText, failure, look }: Moderation,
  config: ModerationConfig,
  env: { log: GuardLog; metrics: Metrics; now(): number; owner: { readonly kind: string } },
): ModerationHooks {
  const policy: GuardPolicy = {
    guarding: new Guarding(plugin, env, config),
    watches: config.mode === 'monitor',
    denyCode: () => config.deny_code,
    failure,
  }
  // A stream that is only marked goes on, whatever is found, and unmarked where nothing could be.
  const marking: GuardPolicy = {
    ...policy,
    finds: new Guarding(plugin, env, { ...config, mode: 'monitor' }),
    failure: () => 'pass',
  }
  const requests = {
    plugin,
    policy,
    checks: config.check_request,
    scope: {
      roles: new Set(config.request_check_roles),
      kinds: new Set(config.request_check_kinds),
      mode: config.request_check_mode,
    },
    notText: config.not_text,
    notTextAllowed: new Set(config.not_text_allowed),
    log: env.log,
    deniedText: config.deny_message ?? deniedText,
    unreadable: 'protocol passthrough cannot moderate the configured request_check_roles',
    look: (ctx: Context, said: readonly Prompt[], wisher: Wisher) =>
      look(ctx, { side: 'request', wisher }, joined(said)),
  }
  const answers = {
    kinds: new Set(config.response_check_kinds),
    look: (ctx: Context, content: string) => look(ctx, { side: 'response', wisher: ctx }, content),
  }
  const parts = {
    bytes: config.stream_check_cache_size,
    intervalMs: config.stream_check_interval * 1000,
    holds: config.stream_hold,
    now: env.now,
  }
  return {
    ...requestHooks(requests, config, env),
    event_filter(ctx, call) {
      if (!config.check_response) return undefined
      const isMarked = call.streaming && config.stream_check_mode === 'final_packet'
      return guardAnswer(ctx, call, {
        ...answers,
        ...(isMarked ? { policy: marking, streams: 'marked' } : { policy, streams: parts }),
      })
    },
  }
}
