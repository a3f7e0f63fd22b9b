// Google's Gemini API, as it speaks to clients of OpenAI (facts ai-plugins 3.1).
import type { Provider } from './provider.ts'

export const gemini: Provider = {
  name: 'gemini',
  conventionalName: 'gcp.gemini',
  origin: 'https://generativelanguage.googleapis.com',
  paths: { 'openai-chat': '/v1beta/openai/chat/completions' },
  maxTokens: { 'openai-chat': { set: 'max_completion_tokens' } },
}
