// Requests before ai-prompt-guard (facts ai-plugins 9); knows no answer.
import type { Context } from '../../core/context.ts'
import { GatewayError } from '../../core/errors.ts'
import { withoutAppended } from '../../core/llm/appended-prompts.ts'
import type { Guarding } from '../../core/llm/guards/guarding.ts'
import type { JsonObject } from '../../core/llm/json.ts'
import { hasTwins } from '../../core/llm/json-twins.ts'
import { IN_FRONT, isCutShort, type Prompt } from '../../core/llm/prompt.ts'
import { joined } from '../../core/llm/prompts.ts'
import { detectProtocol, protocolNamed } from '../../core/llm/protocols/detect.ts'
import type { Protocol } from '../../core/llm/protocols/protocol.ts'
import type { Env, TurnHook } from '../../core/plugin.ts'
import { type Reply, reply } from '../../core/reply.ts'
import type { Config } from './config.ts'
import { found, patternList } from './pattern-list.ts'
import { denial } from './refusal.ts'
import { requestScope } from './request-scope.ts'

const PROHIBITED = 'Request contains prohibited content'
const UNSEEN = 'Request contains content that cannot be checked'

/** Why a request is denied, and in which words its client is told. */
interface Fault {
  readonly reason: string
  readonly message: string
}

interface Read {
  readonly body: JsonObject
  readonly bytes: Buffer
}

export function requestGuard(config: Config, guarding: Guarding, log: Env['log']): TurnHook {
  const allows = patternList(config.allow_patterns)
  const denies = patternList(config.deny_patterns)
  const scope = requestScope(config)
  const allowed = new Set(config.not_text_allowed)

  /** A pattern of which nobody knows whether it matches counts as one that should not, or should. */
  function faultOf(prompts: readonly Prompt[]): Fault | undefined {
    const unseen = prompts.find(({ kind, text }) => kind === 'not_text' && !allowed.has(text))
    if (config.not_text === 'deny' && unseen !== undefined) return { reason: `it has ${unseen.text}`, message: UNSEEN }
    const prompt = joined(prompts.filter(({ kind }) => kind !== 'not_text'))
    // APISIX answers with an empty 200 here, which breaks every turn of an agent that follows a tool's result.
    if (prompt === '') return undefined
    const match = config.allow_patterns.length > 0 ? allows(prompt) : 0
    if (match === 'unknown') return { reason: found('allow_patterns', match), message: PROHIBITED }
    if (match === undefined)
      return { reason: 'no allow pattern matches', message: "Request doesn't match allow patterns" }
    const hit = denies(prompt)
    return hit === undefined ? undefined : { reason: found('deny_patterns', hit), message: PROHIBITED }
  }

  /** What a key says that stands twice cannot be looked at: somebody else may read the other one. */
  function piecesOf(ctx: Context, protocol: Protocol, said: readonly Prompt[], { body, bytes }: Read): Prompt[] {
    const pieces = scope(protocol.name, said, withoutAppended(ctx, said))
    if (config.not_text !== 'pass' && hasTwins(bytes, body))
      pieces.push({ role: 'user', kind: 'not_text', text: 'key_twice', turn: IN_FRONT })
    return pieces
  }

  function judge(ctx: Context, protocol: Protocol, read: Read): Reply | undefined {
    const { body } = read
    const said = protocol.prompts(body)
    const prompts = piecesOf(ctx, protocol, said, read)
    if (config.not_text === 'log') sayUnseen(ctx, prompts)
    // Nobody means so many pieces, and what is asked stands at their end.
    const isCut = config.not_text !== 'pass' && isCutShort(said)
    const fault = isCut ? { reason: 'it has more pieces than are looked at', message: UNSEEN } : faultOf(prompts)
    if (fault === undefined) guarding.allows(ctx, 'request')
    else if (guarding.denies(ctx, 'request', fault.reason))
      return denial(config.deny_as, { protocol, body, path: ctx.request.path }, fault.message)
    return undefined
  }

  function sayUnseen(ctx: Context, prompts: readonly Prompt[]): void {
    const unseen = new Set(prompts.filter(({ kind }) => kind === 'not_text').map(({ text }) => text))
    if (unseen.size === 0) return
    const fields = { plugin: 'ai-prompt-guard', route: ctx.route?.id, request_id: ctx.id }
    log.info({ ...fields, not_text: [...unseen].slice(0, 8) }, 'not all of a request could be looked at')
  }

  function unreadable(ctx: Context, message: string): Reply | undefined {
    return guarding.skips(ctx, 'request', message) ? reply(400, { message }) : undefined
  }

  /** What the client is told of a body that cannot be read, if anything. */
  function refused(ctx: Context, error: unknown): Reply | undefined {
    if (!(error instanceof GatewayError)) throw error
    if (error.code === 'body_not_json' && !ctx.body.empty) return unreadable(ctx, error.message)
    if (error.code !== 'body_too_large' && error.code !== 'body_not_json') throw error
    const denied = guarding.denies(ctx, 'request', 'its body is empty or too large')
    return denied ? reply(400, { message: 'Empty request body' }) : undefined
  }

  return async ctx => {
    let body: unknown
    try {
      body = await ctx.body.json(config.max_req_body_size)
    } catch (error) {
      return refused(ctx, error)
    }
    const name = detectProtocol(body, ctx.request.path)
    const protocol = name && protocolNamed(name)
    if (protocol === undefined || name === 'passthrough')
      return unreadable(ctx, 'Request format not recognized by ai-prompt-guard')
    const begun = ctx.elapsed()
    // A protocol was found: it is an object, and was read just now.
    const told = judge(ctx, protocol, { body: body as JsonObject, bytes: ctx.body.known!.bytes })
    guarding.took('request', ctx.elapsed() - begun)
    return told
  }
}
