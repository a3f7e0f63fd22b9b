// What of a request a guard looks at: whose words, of which kinds, of how much of a conversation; knows no guard.
import type { Prompt, PromptKind, PromptRole } from '../prompt.ts'
import { select, trailingTurns } from '../prompts.ts'

export interface RequestScope {
  readonly roles: ReadonlySet<PromptRole>
  readonly kinds: ReadonlySet<PromptKind>
  /** `last`: of what is not the system's, only the end of the conversation in which these roles speak. */
  readonly mode: 'last' | 'all'
}

export interface InScope {
  /** The system's first, whatever the mode (facts ai-plugins 15.2). */
  readonly texts: readonly Prompt[]
  /** What stands among them and cannot be read. */
  readonly notText: readonly Prompt[]
}

/** `own` are those of all `prompts` that the operator has not put at the end. */
export function requestTexts(
  prompts: readonly Prompt[],
  own: readonly Prompt[],
  { roles, kinds, mode }: RequestScope,
): InScope {
  const turning = new Set<PromptRole>([...roles].filter(role => role !== 'system'))
  const system = roles.has('system') ? prompts.filter(({ role }) => role === 'system') : []
  const turns = mode === 'last' ? lastOf(prompts, own, turning) : prompts
  const all = [...system, ...turns.filter(({ role }) => turning.has(role))]
  return { texts: select(all, { roles, kinds }), notText: all.filter(({ kind }) => kind === 'not_text') }
}

/** What an operator has put at the end, and what the client has said last. */
function lastOf(prompts: readonly Prompt[], own: readonly Prompt[], roles: ReadonlySet<PromptRole>): Prompt[] {
  const last = trailingTurns(prompts, roles)
  if (own === prompts) return last
  const all = new Set([...last, ...trailingTurns(own, roles)])
  return prompts.filter(prompt => all.has(prompt))
}
