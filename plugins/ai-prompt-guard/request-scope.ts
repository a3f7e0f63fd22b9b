// Which pieces of a request ai-prompt-guard looks at.
import type { Prompt, PromptKind, PromptRole } from '../../core/llm/prompt.ts'
import { lastAnswer, lastTurn } from '../../core/llm/prompts.ts'
import type { ProtocolName } from '../../core/llm/protocols/protocol.ts'
import { type Config, roles } from './config.ts'

const TEXTS: ReadonlySet<PromptKind> = new Set(['text'])
const SAYINGS: ReadonlySet<PromptKind> = new Set(['text', 'tool_result'])

/** In order. What is no text is among them. `own` are those of all that the operator has not put at the end. */
export type RequestScope = (protocol: ProtocolName, prompts: readonly Prompt[], own: readonly Prompt[]) => Prompt[]

/**
 * Texts are those of the last message, as in APISIX, so that a turn that follows a tool's result has none; all else is what
 * has come since the model's last message, and that. Of a response's input any item may be the one that asks, and a result of a
 * tool counts as a user's.
 */
export function requestScope(config: Config): RequestScope {
  const { match_all_roles: everybody, match_all_conversation_history: always } = config
  const speakers: ReadonlySet<PromptRole> = new Set(everybody ? roles : (config.request_check_roles ?? ['user']))
  const chosen: ReadonlySet<PromptKind> | undefined = config.request_check_kinds && new Set(config.request_check_kinds)
  return (protocol, prompts, own) => {
    const isResponse = protocol === 'openai-responses'
    const all = always || isResponse
    const kinds = chosen ?? (everybody || isResponse ? SAYINGS : TEXTS)
    const last = lastTurn(prompts, SAYINGS)
    const ownLast = lastTurn(own, SAYINGS)
    // What an operator puts at the end is text: of all else, `own` has what is new in `prompts`.
    const answer = lastAnswer(own)
    return prompts.filter(({ kind, role, turn }) => {
      if (kind === 'text') return kinds.has(kind) && speakers.has(role) && (all || turn === last || turn === ownLast)
      // What stands in front of all is of no message, and always new.
      return (kind === 'not_text' || kinds.has(kind)) && (all || turn < 0 || turn >= answer)
    })
  }
}
