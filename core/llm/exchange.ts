// What everybody may know about a request's call to an LLM: the one slot that other plugins read; knows no provider.
import { slot } from '../context.ts'
import type { Reply } from '../reply.ts'
import type { JsonObject } from './json.ts'
import type { ProtocolName } from './protocols/protocol.ts'
import type { Said } from './protocols/said.ts'

/** Tokens as the provider counted them (facts ai-plugins 1.9). What it did not say is 0. */
export interface Usage {
  prompt: number
  completion: number
  total: number
  cacheRead: number
  cacheCreation: number
  reasoning: number
}

/** Why an answer that had begun did not come to its end. The first four are APISIX's words (facts ai-plugins 1.9). */
export type Aborted =
  | 'client_disconnect'
  | 'read_error'
  | 'max_stream_duration_ms'
  | 'max_response_bytes'
  /** The stream ended without saying that it was complete. */
  | 'incomplete'
  /** The provider reported an error within the stream. */
  | 'upstream_error'
  /** A filter of the answer's events, or of its bytes, has ended it. */
  | 'filtered'

/** One try at an instance, as logs tell of it. */
export interface Tried {
  readonly instance: string
  /** Of the answer, or of what went wrong on the way; undefined while it is under way. */
  status: number | undefined
  /** Whole milliseconds until it was over. */
  ms: number | undefined
  /** Why it did not come to its end, see `cutBy`; `not_admitted` when nothing was sent, because somebody has refused it. */
  reason: string | undefined
}

/** One that could have been asked, and why it was not. */
export interface Candidate {
  readonly instance: string
  readonly priority: number
  readonly weight: number
  /** How like the question is to what it is for, -1 to 1; only where that decides, and could be found out. */
  readonly score?: number | undefined
  /** Undefined for the one that is asked. */
  readonly skipped: string | undefined
}

/** What is about to be sent to a provider, in its own protocol. */
export interface Sending {
  readonly provider: string
  readonly model: unknown
  readonly spoken: ProtocolName
  readonly body: JsonObject
  /** Of the body. */
  readonly bytes: number
}

/** Asked before each attempt: a reply keeps it from being sent, ends the call and is what the client gets. */
export type Admission = (sending: Sending) => Reply | undefined | Promise<Reply | undefined>

export interface Exchange {
  /** Of the client's request. */
  readonly protocol: ProtocolName
  /** What the client asked for. */
  readonly requestType: 'ai_chat' | 'ai_stream'
  /** The client's `model`, whatever it is; undefined when there is none. */
  readonly requestModel: unknown
  /** The model the provider is asked for; undefined before the first attempt. */
  model: unknown
  /** What the answer says of itself; undefined when it has said nothing (yet). */
  said: Said | undefined
  /** Who is asked: `ai-proxy-<provider>`, or the name of an instance of ai-proxy-multi. */
  instance: string
  /** Its provider, as configurations name it; undefined before the first attempt. */
  provider: string | undefined
  /** What the provider is spoken with; another than the client's where it is converted. Undefined before the first attempt. */
  spoken: ProtocolName | undefined
  /** Where the last attempt went; undefined before the first. Not the query: it may have the operator's key. */
  upstream: { readonly scheme: string; readonly host: string; readonly path: string } | undefined
  /** The answer came as a stream of events, whatever was asked for. */
  streaming: boolean
  /** Undefined when the provider has said nothing (yet). */
  usage: Usage | undefined
  /** Somebody charges for what was delivered, also when the provider does not say: the text is counted as it passes. */
  countsText: boolean
  /** About how many tokens of text an answer was that ended without usage, where they are counted. */
  textEstimate: number
  /** Tokens of output that are asked for at most where the request does not say; undefined leaves that to the provider. */
  outputLimit: number | undefined
  /** Asked one after the other before each attempt. */
  readonly admissions: Admission[]
  /** Told each time that an attempt is over, well or not, before anything is said of it. */
  readonly over: ((call: Exchange) => void)[]
  /** When the last attempt began, on the monotonic clock; 0 before the first. */
  askedTick: number
  /** Whole milliseconds from the attempt's start to the first event with data, or to a whole answer; undefined without. */
  timeToFirstTokenMs: number | undefined
  /** Whole milliseconds from the attempt's start to the end of the answer or the failure. */
  upstreamMs: number | undefined
  hasToolCalls: boolean
  /** Of the body as it went to the provider. */
  toolCount: number
  endUserId: string | undefined
  /** The answer's text, collected only when `keepsText` says so; at most a MiB of a stream's. */
  responseText: string | undefined
  /** Somebody wants the answer's text: `logging.payloads`, or who asks before the first attempt's answer. */
  keepsText: boolean
  /** The answer is over, well or not. */
  done: boolean
  aborted: Aborted | undefined
  /** Why the last attempt did not come to its end: a word of `aborted`, else the fault of the upstream (core/errors.ts). */
  cutBy: string | undefined
  /** Every try, in order. */
  readonly tries: Tried[]
  /** Who could have been asked, for each choice, where there is one. */
  readonly choices: (readonly Candidate[])[]
  /** What logs shall say of the call. */
  readonly logging: { readonly summaries: boolean; readonly payloads: boolean }
}

/** Set in the access phase by the plugin that will make the call; undefined on requests that are no LLM call. */
export const exchange = slot<Exchange>()

/** An exchange at its beginning. */
export function openExchange(
  known: Pick<Exchange, 'protocol' | 'requestType' | 'requestModel' | 'instance' | 'logging'>,
): Exchange {
  return {
    ...known,
    model: undefined,
    provider: undefined,
    spoken: undefined,
    said: undefined,
    keepsText: known.logging.payloads,
    upstream: undefined,
    streaming: false,
    usage: undefined,
    countsText: false,
    textEstimate: 0,
    outputLimit: undefined,
    admissions: [],
    over: [],
    askedTick: 0,
    timeToFirstTokenMs: undefined,
    upstreamMs: undefined,
    hasToolCalls: false,
    toolCount: 0,
    endUserId: undefined,
    responseText: undefined,
    done: false,
    aborted: undefined,
    cutBy: undefined,
    tries: [],
    choices: [],
  }
}

/** `instance` is asked now: what was known of another's answer is forgotten. */
export function beginTry(call: Exchange, instance: string): void {
  call.instance = instance
  call.tries.push({ instance, status: undefined, ms: undefined, reason: undefined })
  call.provider = undefined
  call.spoken = undefined
  call.upstream = undefined
  call.said = undefined
  call.streaming = false
  call.usage = undefined
  call.textEstimate = 0
  call.timeToFirstTokenMs = undefined
  call.upstreamMs = undefined
  call.hasToolCalls = false
  call.toolCount = 0
  call.endUserId = undefined
  call.responseText = undefined
  call.done = false
  call.aborted = undefined
  call.cutBy = undefined
}
