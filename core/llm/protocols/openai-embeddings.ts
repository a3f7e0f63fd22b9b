// OpenAI's embeddings: what their bodies and answers say (facts ai-plugins 2.5); they never stream.
import { isObject, type JsonObject } from '../json.ts'
import { type Prompt, PromptList, type PromptPlace } from '../prompt.ts'
import { tokens } from '../usage.ts'
import { errorStatus, openaiErrorBody } from './openai-error.ts'
import { UnknownEvents } from './passthrough.ts'
import type { AnswerFacts, Protocol } from './protocol.ts'
import { saidMore } from './said.ts'

export const openaiEmbeddings: Protocol = {
  name: 'openai-embeddings',
  isStreaming: () => false,
  usageRequest: () => undefined,
  asksForUsage: () => true,
  messages: ({ input }) => (typeof input === 'string' ? [{ role: 'user', content: input }] : []),
  prompts,
  withMessages: body => body,
  endUserId: () => undefined,
  answerFacts,
  said: ({ model }) => saidMore(undefined, { model }),
  openReader: () => new UnknownEvents(),
  errorBody: openaiErrorBody,
  errorEvent: error => Buffer.from(`data: ${JSON.stringify(openaiErrorBody(error))}\n\n`),
  // Numbers say nothing.
  pieces: () => [],
  refusal: ({ text }) => Buffer.from(JSON.stringify({ error: { message: text, type: 'content_policy_violation' } })),
}

/** All of the input is asked at once. Numbers are tokens, which stand for a text that we do not know. */
function prompts({ input }: JsonObject): Prompt[] {
  const said = new PromptList()
  const place: PromptPlace = { role: 'user', turn: 0 }
  const parts: readonly unknown[] = Array.isArray(input) ? input : [input]
  const texts = parts.filter(part => typeof part === 'string')
  for (const text of texts) said.text(place, text, 'input')
  const other = parts.find(part => typeof part !== 'string' && part !== undefined && part !== null)
  if (other !== undefined) said.notText(place, isObject(other) ? other.type : 'tokens')
  return said.all
}

function answerFacts(answer: unknown): AnswerFacts {
  const { usage, data, error } = isObject(answer) ? answer : {}
  const prompt = isObject(usage) ? tokens(usage.prompt_tokens) : 0
  const isError = isObject(error) || typeof error === 'string'
  return {
    usage: isObject(usage)
      ? {
          prompt,
          completion: 0,
          total: tokens(usage.total_tokens) || prompt,
          cacheRead: 0,
          cacheCreation: 0,
          reasoning: 0,
        }
      : undefined,
    text: undefined,
    hasToolCalls: false,
    failed: isError && data === undefined ? errorStatus(error) : undefined,
  }
}
