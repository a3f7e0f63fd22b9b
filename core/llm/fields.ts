// Which header fields go to a provider and which come back from one (facts ai-plugins 5.1); knows no provider.
import type { Context } from '../context.ts'
import { credentialNames } from '../observe/credentials.ts'
import { HeaderList } from '../reply.ts'
import type { Target } from './target.ts'

/** Fields of one connection (RFC 9110 7.6.1), and those that we or the transport make ourselves. */
const NOT_SENT = new Set([
  'accept-encoding',
  'connection',
  'content-length',
  'content-type',
  'expect',
  'host',
  'http2-settings',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** What remains of a client with `forward_headers: safe`: how it speaks, never who it is. */
const SAFE = new Set([
  'accept',
  'accept-language',
  'anthropic-beta',
  'anthropic-version',
  'idempotency-key',
  'openai-beta',
  'traceparent',
  'tracestate',
  'user-agent',
  'x-client-request-id',
  'x-request-id',
])

/**
 * The client's fields with the operator's laid over them and those that prove who asks over both, as a flat list for the
 * transport. What an authentication plugin of ours took the client's key from is between the client and us.
 */
export function requestFields(
  ctx: Context,
  target: Pick<Target, 'headers' | 'withheld' | 'keepAlive' | 'safeHeaders'>,
  proof: Readonly<Record<string, string>> = {},
): string[] {
  const { headers, withheld, keepAlive, safeHeaders } = target
  const { raw } = ctx.request.headers
  const ours = credentialNames(ctx)
  const sent: string[] = []
  for (let at = 0; at < raw.length; at += 2) {
    const key = raw[at]!.toLowerCase()
    if (!isSent(key) || withheld.has(key) || ours?.has(key) || (safeHeaders && !SAFE.has(key))) continue
    sent.push(raw[at]!, raw[at + 1]!)
  }
  for (const [name, value] of headers) if (isSent(name) && !Object.hasOwn(proof, name)) sent.push(name, value)
  for (const name in proof) sent.push(name, proof[name]!)
  sent.push('content-type', 'application/json')
  if (!keepAlive) sent.push('connection', 'close')
  return sent
}

/** The fields of an operator that may be sent, flat, where nothing of a client's goes along. */
export function operatorFields(headers: ReadonlyMap<string, string>): string[] {
  return [...headers].filter(([name]) => isSent(name)).flat()
}

/** A raw query without the arguments in which an authentication plugin of ours looked for the client's key. */
export function requestSearch(ctx: Context, search: string): string {
  const ours = credentialNames(ctx)
  if (ours === undefined || search === '') return search
  const named = (pair: string) => new URLSearchParams(pair).keys().next().value?.toLowerCase()
  return search
    .split('&')
    .filter(pair => !ours.has(named(pair) ?? ''))
    .join('&')
}

function isSent(name: string): boolean {
  return !NOT_SENT.has(name) && !name.startsWith('proxy-')
}

/** What users of an API steer by: when to come again, what is left, whom to ask. All else is between us and the provider. */
const SHOWN =
  /^(content-type|retry-after|retry-after-ms|x-should-retry|x-request-id|request-id|ratelimit|(x-)?ratelimit-.*|openai-.*|anthropic-.*|x-amzn-.*)$/i

export function responseFields(upstream: HeaderList): HeaderList {
  const shown = new HeaderList()
  const { raw } = upstream
  for (let at = 0; at < raw.length; at += 2) if (SHOWN.test(raw[at]!)) shown.append(raw[at]!, raw[at + 1]!)
  return shown
}
