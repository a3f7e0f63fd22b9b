// Amazon Bedrock: the path names the model, and whether a stream is wanted (facts ai-plugins 3.1).
import type { Provider } from './provider.ts'

export const bedrock: Provider = {
  name: 'bedrock',
  conventionalName: 'aws.bedrock',
  origin: 'https://bedrock-runtime.{region}.amazonaws.com',
  paths: { 'bedrock-converse': '/model/{model}/converse' },
  streamPaths: { 'bedrock-converse': '/model/{model}/converse-stream' },
  maxTokens: { 'bedrock-converse': { set: 'inferenceConfig.maxTokens' } },
  removesModel: true,
}
