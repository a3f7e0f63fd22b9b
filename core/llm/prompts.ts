// Which pieces of a request a guard looks at: those of a role, a kind, the end of a conversation; knows no protocol.
import type { Prompt, PromptKind, PromptRole } from './prompt.ts'

/** Those of these roles and kinds. */
export function select(
  prompts: readonly Prompt[],
  { roles, kinds }: { roles: ReadonlySet<PromptRole>; kinds: ReadonlySet<PromptKind> },
): Prompt[] {
  return prompts.filter(({ role, kind }) => roles.has(role) && kinds.has(kind))
}

/** The last message of all that has any of these kinds; no prompt's when there is no such message. */
export function lastTurn(prompts: readonly Prompt[], kinds: ReadonlySet<PromptKind>): number {
  return prompts.reduce((turn, prompt) => (kinds.has(prompt.kind) ? Math.max(turn, prompt.turn) : turn), -2)
}

/** The model's last message; it and all behind it is what is new, in a conversation. -1 when the model has said nothing. */
export function lastAnswer(prompts: readonly Prompt[]): number {
  return prompts.reduce((turn, prompt) => (prompt.role === 'assistant' ? Math.max(turn, prompt.turn) : turn), -1)
}

/**
 * Those of the messages at the end of a conversation in each of which one of these roles speaks: of users, what has been said
 * since the model last answered (facts ai-plugins 2.2, `last`). None when the last message is of nobody among them.
 */
export function trailingTurns(prompts: readonly Prompt[], roles: ReadonlySet<PromptRole>): Prompt[] {
  const spoken = new Set(prompts.filter(({ role }) => roles.has(role)).map(({ turn }) => turn))
  const others = prompts.reduce((turn, prompt) => (spoken.has(prompt.turn) ? turn : Math.max(turn, prompt.turn)), -1)
  return prompts.filter(({ turn }) => turn > others)
}

/** As one text, as APISIX's guards see it. */
export function joined(prompts: readonly Prompt[]): string {
  return prompts.map(({ text }) => text).join(' ')
}
