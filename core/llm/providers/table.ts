// The providers we serve, one row each (facts ai-plugins 3.1).
import type { Provider } from './provider.ts'

const maxTokens = { 'openai-chat': { set: 'max_tokens' } }

const openaiPaths = {
  'openai-chat': '/v1/chat/completions',
  'openai-responses': '/v1/responses',
  'openai-embeddings': '/v1/embeddings',
}

const rows: readonly Provider[] = [
  {
    name: 'openai',
    origin: 'https://api.openai.com',
    paths: openaiPaths,
    maxTokens: {
      'openai-chat': { set: 'max_completion_tokens', drop: 'max_tokens' },
      'openai-responses': { set: 'max_output_tokens' },
    },
  },
  {
    name: 'openai-compatible',
    paths: openaiPaths,
    maxTokens: { ...maxTokens, 'openai-responses': { set: 'max_output_tokens' } },
  },
  {
    name: 'azure-openai',
    paths: { 'openai-chat': '/completions' },
    maxTokens,
    removesModel: true,
  },
  {
    name: 'deepseek',
    origin: 'https://api.deepseek.com',
    paths: { 'openai-chat': '/chat/completions' },
    maxTokens,
  },
  {
    name: 'aimlapi',
    origin: 'https://api.aimlapi.com',
    paths: { 'openai-chat': '/chat/completions' },
    maxTokens,
  },
  {
    name: 'openrouter',
    origin: 'https://openrouter.ai',
    paths: { 'openai-chat': '/api/v1/chat/completions' },
    maxTokens,
  },
  {
    name: 'gemini',
    origin: 'https://generativelanguage.googleapis.com',
    paths: { 'openai-chat': '/v1beta/openai/chat/completions' },
    maxTokens: { 'openai-chat': { set: 'max_completion_tokens' } },
  },
  {
    name: 'anthropic',
    origin: 'https://api.anthropic.com',
    paths: { 'openai-chat': '/v1/chat/completions', 'anthropic-messages': '/v1/messages' },
    maxTokens: { 'openai-chat': { set: 'max_tokens' }, 'anthropic-messages': { set: 'max_tokens' } },
  },
]

/** By name. */
export const providers: ReadonlyMap<string, Provider> = new Map(rows.map(row => [row.name, row]))
