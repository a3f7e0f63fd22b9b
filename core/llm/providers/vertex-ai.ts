// Google's Vertex AI: Gemini as it speaks to clients of OpenAI, and predictions for embeddings (facts ai-plugins 3.1).
import type { Provider } from './provider.ts'

const location = 'projects/{project_id}/locations/{region}'

export const vertexAi: Provider = {
  name: 'vertex-ai',
  conventionalName: 'gcp.vertex_ai',
  origin: 'https://{region}-aiplatform.googleapis.com',
  paths: {
    'openai-chat': `/v1beta1/${location}/endpoints/openapi/chat/completions`,
    'vertex-predict': `/v1/${location}/publishers/google/models/{model}:predict`,
  },
  maxTokens: { 'openai-chat': { set: 'max_completion_tokens' } },
}
