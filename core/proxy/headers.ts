// Which header fields travel: hop-by-hop fields end here, forwarding fields are ours (RFC 9110 7.6.1; facts core 6.7).

import { HeaderList } from '../reply.ts'
import type { Request } from '../request.ts'

const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** What is said anew at every hop, or framed anew. */
const REPLACED = new Set(['host', 'expect', 'content-length', 'x-real-ip', 'x-forwarded-for'])

/** A copy without hop-by-hop fields, those that Connection names among them. */
export function endToEnd(headers: HeaderList, drop?: ReadonlySet<string>): HeaderList {
  const named = headers.has('connection')
    ? new Set(
        headers.all('connection').flatMap(value =>
          value
            .toLowerCase()
            .split(',')
            .map(name => name.trim()),
        ),
      )
    : undefined
  const kept: string[] = []
  const { raw } = headers
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at]!.toLowerCase()
    if (HOP_BY_HOP.has(name) || drop?.has(name) || named?.has(name)) continue
    kept.push(raw[at]!, raw[at + 1]!)
  }
  return new HeaderList(kept)
}

/**
 * The client's fields as they go to a plain upstream, with Host and the forwarding fields set. What a proxy that is believed
 * has said in X-Forwarded-Proto, -Host and -Port is still there, and stays.
 */
export function upstreamHeaders(request: Request, host: string, contentLength: number | undefined): string[] {
  const headers = endToEnd(request.headers, REPLACED)
  const before = request.headers.all('x-forwarded-for').join(', ')
  headers.raw.push(
    'Host',
    host,
    'X-Real-IP',
    request.remoteAddress,
    'X-Forwarded-For',
    before === '' ? request.remoteAddress : `${before}, ${request.remoteAddress}`,
  )
  const unlessSaid = (name: string, value: string | undefined) => {
    if (value !== undefined && !request.headers.has(name)) headers.raw.push(name, value)
  }
  unlessSaid('X-Forwarded-Proto', request.scheme)
  unlessSaid('X-Forwarded-Host', request.headers.get('host'))
  unlessSaid('X-Forwarded-Port', String(request.serverPort))
  if (contentLength !== undefined) headers.raw.push('Content-Length', String(contentLength))
  return headers.raw
}
