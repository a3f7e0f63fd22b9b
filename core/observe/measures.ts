// What a request took and cost, in one place for variables, metrics and logs; keeps nothing.
import type { Context } from '../context.ts'
import type { HeaderList } from '../reply.ts'

/** Milliseconds from the request's first byte to the end of its response, or to now. */
export function latencyMs(ctx: Context): number {
  return ctx.ending === undefined ? ctx.elapsed() : ctx.endTick - ctx.startTick
}

/** Milliseconds spent on upstreams, all attempts together; undefined when none was made. */
export function upstreamMs(ctx: Context): number | undefined {
  if (ctx.attempts.length === 0) return undefined
  let sum = 0
  for (const { responseMs } of ctx.attempts) sum += responseMs ?? 0
  return sum
}

/** What neither upstream nor client can be blamed for. */
export function gatewayMs(ctx: Context): number {
  return Math.max(0, latencyMs(ctx) - (upstreamMs(ctx) ?? 0))
}

/** Bytes of the request, head and body; fields that plugins changed count as they are now. */
export function requestSize(ctx: Context): number {
  const { method, target, headers } = ctx.request
  return method.length + target.length + ' HTTP/1.1\r\n'.length + 1 + headSize(headers) + ctx.body.received
}

/** Bytes of the response, head and body; what node:http adds to either (Date, chunk framing) is not known here. */
export function responseSize(ctx: Context): number {
  // 499 is for the log only: the client was gone before there was a response.
  if (ctx.reply === undefined || ctx.reply.status === 499) return 0
  return 'HTTP/1.1 200 OK\r\n'.length + headSize(ctx.reply.headers) + ctx.bodyBytesSent
}

function headSize(headers: HeaderList): number {
  const { raw } = headers
  let size = 2
  for (let at = 0; at < raw.length; at++) size += raw[at]!.length + 2
  return size
}

/** Who made the response (facts core 1.8): `nginx` means that an upstream was asked and no response header came. */
export function responseSource(ctx: Context): 'apisix' | 'nginx' | 'upstream' {
  if (ctx.reply?.source === 'upstream') return 'upstream'
  return ctx.attempts.length > 0 && ctx.attempts.every(attempt => attempt.headerMs === undefined) ? 'nginx' : 'apisix'
}

/** `host:port` of the node that was asked last, as configured. */
export function lastAddress(ctx: Context): string | undefined {
  return ctx.attempts.at(-1)?.address
}

/** An address's parts; an empty port where there is none. */
export function nodeOf(address: string): { host: string; port: string } {
  const colon = address.lastIndexOf(':')
  return colon < 0 ? { host: address, port: '' } : { host: address.slice(0, colon), port: address.slice(colon + 1) }
}

/** Host and port of the node that was asked last. */
export function lastNode(ctx: Context): { host: string; port: string } | undefined {
  const address = lastAddress(ctx)
  return address === undefined ? undefined : nodeOf(address)
}
