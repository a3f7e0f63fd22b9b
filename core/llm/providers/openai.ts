// OpenAI itself (facts ai-plugins 3.1).
import type { Provider } from './provider.ts'

export const openai: Provider = {
  name: 'openai',
  origin: 'https://api.openai.com',
  paths: {
    'openai-chat': '/v1/chat/completions',
    'openai-responses': '/v1/responses',
    'openai-embeddings': '/v1/embeddings',
  },
  maxTokens: {
    'openai-chat': { set: 'max_completion_tokens', drop: 'max_tokens' },
    'openai-responses': { set: 'max_output_tokens' },
  },
}
