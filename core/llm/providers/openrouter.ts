// OpenRouter (facts ai-plugins 3.1).
import type { Provider } from './provider.ts'

export const openrouter: Provider = {
  name: 'openrouter',
  origin: 'https://openrouter.ai',
  paths: { 'openai-chat': '/api/v1/chat/completions' },
  maxTokens: { 'openai-chat': { set: 'max_tokens' } },
}
