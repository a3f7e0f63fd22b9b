// The providers we serve; one more is a file beside this one and a line here.
import { aimlapi } from './aimlapi.ts'
import { anthropic } from './anthropic.ts'
import { azureOpenai } from './azure-openai.ts'
import { bedrock } from './bedrock.ts'
import { deepseek } from './deepseek.ts'
import { gemini } from './gemini.ts'
import { openai } from './openai.ts'
import { openaiCompatible } from './openai-compatible.ts'
import { openrouter } from './openrouter.ts'
import type { Provider } from './provider.ts'
import { vertexAi } from './vertex-ai.ts'

const all: readonly Provider[] = [
  openai,
  deepseek,
  aimlapi,
  anthropic,
  openaiCompatible,
  azureOpenai,
  openrouter,
  gemini,
  vertexAi,
  bedrock,
]

/** By name. */
export const providers: ReadonlyMap<string, Provider> = new Map(all.map(provider => [provider.name, provider]))
