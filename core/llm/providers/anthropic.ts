// Anthropic (facts ai-plugins 3.1).
import type { Provider } from './provider.ts'

export const anthropic: Provider = {
  name: 'anthropic',
  origin: 'https://api.anthropic.com',
  paths: { 'openai-chat': '/v1/chat/completions', 'anthropic-messages': '/v1/messages' },
  maxTokens: { 'openai-chat': { set: 'max_tokens' }, 'anthropic-messages': { set: 'max_tokens' } },
}
