// What a client is told whose request no budget pays for, in the words of its protocol (facts metering 2); knows no ledger.
import type { Exchange } from '../../core/llm/exchange.ts'
import { protocolNamed } from '../../core/llm/protocols/detect.ts'
import { passthrough } from '../../core/llm/protocols/passthrough.ts'
import type { ProtocolError } from '../../core/llm/protocols/protocol.ts'
import { type Reply, reply } from '../../core/reply.ts'

/** One budget that has no room. */
export interface Exhausted {
  readonly name: string
  readonly frozen: boolean
  /** Milliseconds after which there may be room; Infinity for never: waiting is of no use. */
  readonly retryMs: number
  /** Only requests under way are in its way. */
  readonly busy: boolean
}

/** Never 402: clients take a 429 with `insufficient_quota` as the end of the money, and stop. */
export function exhausted(call: Exchange, spent: readonly Exhausted[]): Reply {
  const names = spent.map(({ name }) => name).join(', ')
  if (spent.every(({ busy }) => busy)) {
    const message = `the budget ${names} has no room for this request before others are over`
    return told(call, { status: 429, code: 'rate_limit_exceeded', message }, 1)
  }
  const ms = Math.max(...spent.map(({ retryMs }) => retryMs))
  if (ms === Number.POSITIVE_INFINITY) {
    const frozen = spent.some(({ frozen }) => frozen)
    const message = frozen ? `the budget ${names} is frozen` : `the budget ${names} does not pay for this request`
    const refusal = told(call, { status: 429, code: 'insufficient_quota', message })
    // What the SDKs of OpenAI and Anthropic go by before they look at the status.
    refusal.headers.set('x-should-retry', 'false')
    return refusal
  }
  const seconds = Math.max(1, Math.ceil(ms / 1000))
  const message = `the budget ${names} is used up for now; it begins anew in ${seconds} s`
  return told(call, { status: 429, code: 'rate_limit_exceeded', message }, seconds)
}

export function unpriced(call: Exchange, model: unknown): Reply {
  const name = typeof model === 'string' ? `the model ${model.slice(0, 128)}` : 'this model'
  const message = `${name} has no price here, so that it cannot be used`
  return told(call, { status: 400, code: 'model_not_priced', message })
}

/** The ledger cannot tell. */
export function away(call: Exchange): Reply {
  return told(call, { status: 503, code: 'service_unavailable', message: 'budgets cannot be counted just now' }, 1)
}

function told({ protocol }: Exchange, error: ProtocolError, retryAfter?: number): Reply {
  const body = (protocolNamed(protocol) ?? passthrough).errorBody(error)
  const headers = { 'Content-Type': 'application/json' }
  return reply(error.status, body, retryAfter === undefined ? headers : { ...headers, 'Retry-After': `${retryAfter}` })
}
