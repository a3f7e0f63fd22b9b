// Whoever speaks as OpenAI does, at the endpoint that the operator names (facts ai-plugins 3.1).
import { openai } from './openai.ts'
import type { Provider } from './provider.ts'

export const openaiCompatible: Provider = {
  name: 'openai-compatible',
  paths: openai.paths,
  maxTokens: { 'openai-chat': { set: 'max_tokens' }, 'openai-responses': { set: 'max_output_tokens' } },
}
