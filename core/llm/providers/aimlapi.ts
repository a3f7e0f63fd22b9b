// AI/ML API (facts ai-plugins 3.1).
import type { Provider } from './provider.ts'

export const aimlapi: Provider = {
  name: 'aimlapi',
  origin: 'https://api.aimlapi.com',
  paths: { 'openai-chat': '/chat/completions' },
  maxTokens: { 'openai-chat': { set: 'max_tokens' } },
}
