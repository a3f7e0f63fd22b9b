// Answers before ai-prompt-guard (ours): they end where one of `response_deny_patterns` is found; knows no request.
import type { Context } from '../../core/context.ts'
import { Denied, type EventFilter, Refused } from '../../core/llm/answer-event.ts'
import type { Exchange } from '../../core/llm/exchange.ts'
import type { Guarding } from '../../core/llm/guards/guarding.ts'
import { watchedAnswer } from '../../core/llm/guards/watched-answer.ts'
import type { Config } from './config.ts'
import { found, patternList } from './pattern-list.ts'
import { refusal } from './refusal.ts'

const PROHIBITED = 'Response contains prohibited content'

export function answerGuard(config: Config, guarding: Guarding): (ctx: Context, call: Exchange) => EventFilter {
  const denies = patternList(config.response_deny_patterns)
  const kinds = new Set(config.response_check_kinds)

  return (ctx, call) => {
    let judged = false
    let ms = 0

    function judge(reason: string | undefined): void {
      judged = true
      guarding.took('response', ms)
      if (reason === undefined) guarding.allows(ctx, 'response')
      else if (guarding.denies(ctx, 'response', reason)) {
        if (config.deny_as === 'answer') throw new Denied(200, refusal(PROHIBITED, call.requestModel))
        throw new Refused(400, 'denied', PROHIBITED)
      }
    }

    return watchedAnswer({
      kinds,
      window: config.response_window,
      holds: config.mode === 'enforce',
      look(part) {
        if (judged) return
        const begun = ctx.elapsed()
        const hit = denies(part)
        ms += ctx.elapsed() - begun
        if (hit !== undefined) judge(found('response_deny_patterns', hit))
      },
      unknown() {
        judged = true
        const reason = `the answers of ${call.protocol} cannot be read`
        if (guarding.skips(ctx, 'response', reason)) throw new Refused(501, 'texts_unknown', reason)
      },
      end() {
        if (!judged) judge(undefined)
      },
    })
  }
}
