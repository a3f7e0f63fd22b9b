// DeepSeek (facts ai-plugins 3.1).
import type { Provider } from './provider.ts'

export const deepseek: Provider = {
  name: 'deepseek',
  origin: 'https://api.deepseek.com',
  paths: { 'openai-chat': '/chat/completions' },
  maxTokens: { 'openai-chat': { set: 'max_tokens' } },
}
