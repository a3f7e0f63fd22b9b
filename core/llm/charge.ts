// What a call to an LLM is charged for: what the provider says, or what was delivered when it does not; knows no limit.
import type { Exchange, Usage } from './exchange.ts'
import { isObject, type JsonObject } from './json.ts'
import { protocolNamed } from './protocols/detect.ts'
import { estimateTokens } from './token-estimate.ts'

export interface Charge {
  readonly usage: Usage
  /** The provider has not said all of it. */
  readonly estimated: boolean
}

/**
 * Of an attempt that is over. A whole answer costs what the provider says. One that was cut short costs at least the text
 * that has passed, and the prompt with it; one of which nothing has passed, and of which nothing is said, costs nothing
 * (facts metering 5).
 */
export function chargeOf({ usage, textEstimate, protocol, cutBy }: Exchange, body: JsonObject): Charge | undefined {
  if (usage !== undefined && (cutBy === undefined || usage.completion >= textEstimate))
    return { usage, estimated: false }
  if (textEstimate === 0) return usage && { usage, estimated: false }
  const prompt = usage?.prompt || promptEstimate(body, protocol)
  const none = { cacheRead: 0, cacheCreation: 0, reasoning: 0 }
  return {
    usage: { ...none, ...usage, prompt, completion: textEstimate, total: prompt + textEstimate },
    estimated: true,
  }
}

/** Tokens by what they are priced as; none of them is in two parts. */
export interface Parts {
  readonly input: number
  readonly cachedInput: number
  readonly cacheWrite: number
  readonly output: number
  readonly reasoning: number
}

/**
 * Most providers count what came from a cache, or went into one, within the prompt; those whose protocol says so count it
 * beside. A part that is reported as larger than its whole is the whole.
 */
export function partsOf(usage: Usage, spoken: Exchange['spoken']): Parts {
  const { prompt, completion, cacheRead, cacheCreation } = usage
  const apart = spoken !== undefined && protocolNamed(spoken)?.cacheApart === true
  const cachedInput = apart ? cacheRead : Math.min(cacheRead, prompt)
  const cacheWrite = apart ? cacheCreation : Math.min(cacheCreation, prompt - cachedInput)
  const reasoning = Math.min(usage.reasoning, completion)
  return {
    input: apart ? prompt : prompt - cachedInput - cacheWrite,
    cachedInput,
    cacheWrite,
    output: completion - reasoning,
    reasoning,
  }
}

/** About how many tokens the texts of a request are, with a few for each message; at least 1. */
export function promptEstimate(body: JsonObject, protocol: Exchange['protocol']): number {
  const messages = protocolNamed(protocol)?.messages(body) ?? []
  return Math.max(1, estimateTokens(messages.map(({ content }) => content)) + 4 * messages.length)
}

/** What the API gives an answer at most when the request does not say (facts metering 2). */
const MAX_OUTPUT = 4_096

/**
 * An upper bound for what a request will cost, as far as bytes tell: a quarter of its body, or what is said of a token, and as
 * much output as it allows, for every choice.
 */
export function worstCase(
  body: JsonObject,
  bytes: number,
  said: { bytesPerToken?: number; output?: number } = {},
): Usage {
  const ofConverse = isObject(body.inferenceConfig) ? body.inferenceConfig.maxTokens : undefined
  const named = [body.max_completion_tokens, body.max_tokens, body.max_output_tokens, ofConverse].find(isCount)
  const choices = isCount(body.n) ? body.n : 1
  const prompt = Math.max(1, Math.ceil(bytes / (said.bytesPerToken ?? 4)))
  const completion = (named ?? said.output ?? MAX_OUTPUT) * choices
  return { prompt, completion, total: prompt + completion, cacheRead: 0, cacheCreation: 0, reasoning: 0 }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0
}

/** The provider's own names for what it reports, by which expressions know them (facts ai-plugins 8.5); else 0. */
export function reported({ prompt, completion, total, cacheRead, cacheCreation }: Usage, name: string): number {
  switch (name) {
    case 'prompt_tokens':
    case 'input_tokens':
    case 'inputTokens':
      return prompt
    case 'completion_tokens':
    case 'output_tokens':
    case 'outputTokens':
      return completion
    case 'total_tokens':
    case 'totalTokens':
      return total
    case 'cache_read_input_tokens':
      return cacheRead
    case 'cache_creation_input_tokens':
      return cacheCreation
    default:
      return 0
  }
}
