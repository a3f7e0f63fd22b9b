// What a request says as lines that tests can compare: turn, role, kind (left out where it is a text) and text.
import type { Prompt } from '../../core/llm/prompt.ts'

export function lines(prompts: readonly Prompt[]): string[] {
  return prompts.map(({ turn, role, kind, text }) => `${turn} ${role}${kind === 'text' ? '' : ` ${kind}`}: ${text}`)
}
