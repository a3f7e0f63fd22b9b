// Azure OpenAI: the operator's endpoint names resource, deployment and api-version (facts ai-plugins 3.1).
import type { Provider } from './provider.ts'

export const azureOpenai: Provider = {
  name: 'azure-openai',
  conventionalName: 'azure.ai.openai',
  paths: { 'openai-chat': '/completions' },
  maxTokens: { 'openai-chat': { set: 'max_tokens' } },
  removesModel: true,
}
