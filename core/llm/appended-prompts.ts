// What the operator has put behind the messages of a request: with it, nothing that its client says would come last.
import { type Context, slot } from '../context.ts'
import type { Prompt } from './prompt.ts'
import type { Message } from './protocols/protocol.ts'

const appended = slot<readonly string[]>()

/** Behind all that the request says. */
export function noteAppended(ctx: Context, messages: readonly Message[]): void {
  if (messages.length > 0) appended.set(ctx, [...(appended.get(ctx) ?? []), ...messages.map(({ content }) => content)])
}

/** The pieces of a request without those that were put behind its end. */
export function withoutAppended(ctx: Context, prompts: readonly Prompt[]): readonly Prompt[] {
  const texts = appended.get(ctx) ?? []
  let end = prompts.length
  while (end > 0 && texts.includes(prompts[end - 1]!.text)) end--
  return end === prompts.length ? prompts : prompts.slice(0, end)
}
