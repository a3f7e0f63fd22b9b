// Who may use the admin API: by address, then by key (facts core 4.1); knows no resource.
import { createHash, timingSafeEqual } from 'node:crypto'
import type { Context, Middleware } from 'koa'
import { addressSet } from '../core/router/addresses.ts'
import { Refused, refuse } from './answer.ts'

export interface AdminKey {
  name: string
  key: string
  /** `viewer` may only read, and sees no secrets; anything else is an admin. */
  role: string
}

export type Role = 'admin' | 'viewer'

/** Who asks. */
export interface Caller {
  readonly role: Role
  /** Of the key; undefined where nobody needs one. */
  readonly name: string | undefined
}

/** Lets only these IPs and CIDRs in; an empty list is everybody. Throws when one of them is none. */
export function allowed(addresses: readonly string[]): Middleware {
  if (addresses.length === 0) return (_ctx, next) => next()
  const set = addressSet(addresses)
  return (ctx, next) => {
    if (!set.has(ctx.req.socket.remoteAddress ?? '')) throw refuse(403, 'this address is not allowed here')
    return next()
  }
}

/** Says who asks. Throws 401 for a missing or wrong key, and for a viewer who wants to write. */
export function authenticator(keys: readonly AdminKey[]): (ctx: Context) => Caller {
  const known = keys.map(({ key, name, role }) => ({
    digest: digest(key),
    caller: { name, role: role === 'viewer' ? 'viewer' : 'admin' } as const,
  }))
  return ctx => {
    const presented = presentedKey(ctx)
    if (presented === '') throw unauthorized('missing apikey')
    const candidate = digest(presented)
    let caller: Caller | undefined
    // Digests have one length and every key is looked at, so that the time taken tells nothing.
    for (const each of known) {
      if (timingSafeEqual(candidate, each.digest)) caller ??= each.caller
    }
    if (caller === undefined) throw unauthorized('wrong apikey')
    if (caller.role === 'viewer' && ctx.method !== 'GET' && ctx.method !== 'HEAD') {
      throw unauthorized('invalid method for role viewer')
    }
    return caller
  }
}

function presentedKey(ctx: Context): string {
  const { api_key } = ctx.query
  return [api_key].flat()[0] || ctx.get('X-API-KEY') || ctx.cookies.get('x_api_key') || ''
}

function unauthorized(description: string): Refused {
  return new Refused(401, { error_msg: 'failed to check token', description })
}

function digest(key: string): Buffer {
  return createHash('sha256').update(key).digest()
}

/** The headers of a preflight's answer, and those that every answer has, where browsers of other origins may ask. */
export const cors = {
  always: {
    'Access-Control-Allow-Origin': '*',
    'Access-Control-Allow-Credentials': 'true',
    'Access-Control-Expose-Headers': '*',
    'Access-Control-Max-Age': '3600',
  },
  preflight: {
    'Access-Control-Allow-Methods': 'POST, GET, PUT, OPTIONS, DELETE, PATCH',
    'Access-Control-Allow-Headers': '*',
    'Content-Length': '0',
    'Content-Type': 'text/plain',
  },
} as const
