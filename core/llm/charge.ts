// What a call to an LLM is charged for: what the provider says, or what was delivered when it does not; knows no limit.
import type { Exchange, Usage } from './exchange.ts'
import { isObject, type JsonObject } from './json.ts'
import { protocolNamed } from './protocols/detect.ts'
import type { ProtocolName } from './protocols/protocol.ts'
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
 * An upper bound for what a request in that protocol will cost, as far as bytes tell: a quarter of its body, or what is said of
 * a token, and as much output as it allows, for every choice.
 */
export function worstCase(
  body: JsonObject,
  bytes: number,
  said: { spoken: ProtocolName; bytesPerToken?: number; output?: number },
): Usage {
  const { spoken, bytesPerToken = 4, output = MAX_OUTPUT } = said
  const choices = largestOf(body, ['n']) ?? 1
  const prompt = Math.max(1, Math.ceil(bytes / bytesPerToken))
  const limit = outputLimitOf(body, spoken)
  // What a limit means in a protocol that nobody knows, nobody knows.
  const most = limits[spoken] === undefined ? Math.max(limit ?? 0, output) : (limit ?? output)
  const completion = Math.min(MOST_OUTPUT, most * choices)
  return { prompt, completion, total: prompt + completion, cacheRead: 0, cacheCreation: 0, reasoning: 0 }
}

/** By protocol, where a request says how much output it wants at most. */
const limits: Readonly<Partial<Record<ProtocolName, readonly string[]>>> = {
  'openai-chat': ['max_completion_tokens', 'max_tokens'],
  'openai-responses': ['max_output_tokens'],
  'anthropic-messages': ['max_tokens'],
  'bedrock-converse': ['maxtokens'],
}
const anyLimit = ['max_completion_tokens', 'max_tokens', 'max_output_tokens']
/** More than any model gives; sums of it stay exact. */
const MOST_OUTPUT = 2 ** 32

/** How many tokens of output a request allows at most, for a choice; undefined where it does not say. */
export function outputLimitOf(body: JsonObject, spoken: ProtocolName): number | undefined {
  const within = spoken === 'bedrock-converse' ? body.inferenceConfig : body
  return isObject(within) ? largestOf(within, limits[spoken] ?? anyLimit) : undefined
}

/**
 * Of members that may mean the same, for there are providers that know the one, the other, or any by whatever case, and take
 * text for a number: who says little under one name and much under another may get much.
 */
function largestOf(body: JsonObject, names: readonly string[]): number | undefined {
  let largest: number | undefined
  for (const [key, value] of Object.entries(body)) {
    const count = typeof value === 'number' || typeof value === 'string' ? Math.ceil(Number(value)) : 0
    if (count > 0 && names.includes(key.toLowerCase())) largest = Math.max(largest ?? 0, count)
  }
  return largest
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
