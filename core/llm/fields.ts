// Which header fields go to a provider and which come back from one (facts ai-plugins 5.1); knows no provider.
import { HeaderList } from '../reply.ts'

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

/** The client's fields with the operator's (by lower-case name) laid over them, as a flat list for the transport. */
export function requestFields(client: HeaderList, overlay: ReadonlyMap<string, string>, keepAlive: boolean): string[] {
  const { raw } = client
  const sent: string[] = []
  for (let at = 0; at < raw.length; at += 2) {
    const key = raw[at]!.toLowerCase()
    if (isSent(key) && !overlay.has(key)) sent.push(raw[at]!, raw[at + 1]!)
  }
  for (const [name, value] of overlay) if (isSent(name)) sent.push(name, value)
  sent.push('content-type', 'application/json')
  if (!keepAlive) sent.push('connection', 'close')
  return sent
}

function isSent(name: string): boolean {
  return !NOT_SENT.has(name) && !name.startsWith('proxy-')
}

/** What users of an API steer by: when to come again, what is left, whom to ask. All else is between us and the provider. */
const SHOWN =
  /^(content-type|retry-after|retry-after-ms|x-should-retry|x-request-id|request-id|ratelimit|(x-)?ratelimit-.*|openai-.*|anthropic-.*)$/i

export function responseFields(upstream: HeaderList): HeaderList {
  const shown = new HeaderList()
  const { raw } = upstream
  for (let at = 0; at < raw.length; at += 2) if (SHOWN.test(raw[at]!)) shown.append(raw[at]!, raw[at + 1]!)
  return shown
}
