// Vertex AI's predict, as embeddings are asked of it: no client speaks it, a converter does (facts ai-plugins 4.6).
import { isObject } from '../json.ts'
import { tokens } from '../usage.ts'
import { openaiEmbeddings } from './openai-embeddings.ts'
import type { Protocol } from './protocol.ts'

export const vertexPredict: Protocol = {
  ...openaiEmbeddings,
  name: 'vertex-predict',
  messages: () => [],
  prompts: () => [],
  answerFacts(answer) {
    const prompt = predictTokens(answer)
    const usage = { prompt, completion: 0, total: prompt, cacheRead: 0, cacheCreation: 0, reasoning: 0 }
    return { usage: prompt === 0 ? undefined : usage, text: undefined, hasToolCalls: false }
  },
}

/** The tokens that all predictions of an answer took together, as far as it says. */
export function predictTokens(answer: unknown): number {
  if (!isObject(answer) || !Array.isArray(answer.predictions)) return 0
  let sum = 0
  for (const prediction of answer.predictions) {
    const embeddings = isObject(prediction) ? prediction.embeddings : undefined
    const statistics = isObject(embeddings) ? embeddings.statistics : undefined
    sum += isObject(statistics) ? tokens(statistics.token_count) : 0
  }
  return sum
}
