// The admin API of APISIX (facts core 4) as a koa app: who may, which path, which verb. What verbs do is in items.ts.
import { Readable } from 'node:stream'
import Koa, { type Context, type Middleware } from 'koa'
import type { Logger } from '../core/observe/log.ts'
import { type AdminKey, allowed, authenticator, type Caller, cors, type Role } from './access.ts'
import { answering, keyNotFound, refuse, send, warn } from './answer.ts'
import { type BudgetsDeps, budgets } from './budgets.ts'
import { type ConfiguringDeps, configuring } from './configuring.ts'
import { type DescribingDeps, describing } from './describing.ts'
import type { Answer, Items, Terms } from './items.ts'
import { type Target, targetOf } from './kinds.ts'
import { parameter } from './listing.ts'
import { etag, preconditionOf, tagging } from './preconditions.ts'
import { readJson } from './request-body.ts'

export interface AdminApiDeps extends Omit<DescribingDeps, 'standalone'>, ConfiguringDeps, BudgetsDeps {
  /** Undefined where the configuration is one document. */
  items: Items | undefined
  /** Undefined when nobody needs a key: everybody is an admin. */
  keys: readonly AdminKey[] | undefined
  /** IPs and CIDRs that may come here; empty means all. */
  allowAdmin: readonly string[]
  /** Whether browsers of other origins may. */
  cors: boolean
  log: Logger
  /** The Server header, by which clients choose their dialect (facts clients). */
  serverName: string
  /** Sluice's own version. */
  version: string
}

export const base = '/apisix/admin'

export function adminApi(deps: AdminApiDeps): Koa {
  const app = new Koa()
  app.on('error', err => deps.log.debug({ err }, 'connection of the admin API broke'))
  app.use(introduced(deps))
  app.use(answering(deps.log))
  app.use(allowed(deps.allowAdmin))
  app.use(open(deps.cors))
  const authenticate = deps.keys && authenticator(deps.keys)
  app.use((ctx, next) => {
    if (!ctx.path.startsWith(`${base}/`)) throw refuse(404, 'not found')
    const caller: Caller = authenticate === undefined ? { role: 'admin', name: undefined } : authenticate(ctx)
    ctx.state.caller = caller
    ctx.state.role = caller.role
    return next()
  })
  app.use(tagging())
  app.use(describing({ ...deps, standalone: deps.items === undefined }, base).routes())
  app.use(configuring(deps, base).routes())
  app.use(budgets(deps, base).routes())
  app.use(serving(deps.items))
  return app
}

/** The headers of every answer. */
function introduced({ serverName, version, cors: anyOrigin }: AdminApiDeps): Middleware {
  return (ctx, next) => {
    ctx.set({ Server: serverName, 'X-Gateway': `Sluice/${version}`, 'X-API-VERSION': 'v3' })
    if (anyOrigin) ctx.set(cors.always)
    return next()
  }
}

/** What needs no key: whether we are there, and preflights. */
function open(anyOrigin: boolean): Middleware {
  return (ctx, next) => {
    if (ctx.method === 'HEAD' && ctx.path === base) return send(ctx, 200, '')
    if (ctx.method !== 'OPTIONS' || !anyOrigin) return next()
    ctx.status = 200
    ctx.body = ''
    ctx.set(cors.preflight)
  }
}

/** The items of every kind. */
function serving(items: Items | undefined): Middleware {
  return async ctx => {
    const path = segments(ctx.path)
    const [collection = ''] = path
    if (items === undefined || ['schema', 'plugins', 'configs'].includes(collection)) throw refuse(404, 'not found')
    const target = targetOf(path)
    if (target === undefined) throw refuse(404, `Unsupported resource type: ${collection}`)
    const method = ctx.method === 'HEAD' ? 'GET' : ctx.method
    mustBeSupported(target, method)
    const { status, body, revision, warnings = [] } = await act(items, target, { ctx, method })
    warn(ctx, warnings)
    if (method !== 'DELETE') ctx.set('ETag', etag(revision))
    // What X-Sluice-Min-Revision can ask for.
    if (method !== 'GET') ctx.set('X-Sluice-Revision', String(revision))
    send(ctx, status, Symbol.asyncIterator in body ? Readable.from(body) : body)
  }
}

function mustBeSupported({ kind, parent, name, path }: Target, method: string): void {
  if (kind.kind === 'stream_routes') throw refuse(400, 'stream mode is disabled, can not add stream routes')
  const deep = method === 'PATCH' && !kind.subPaths
  if (!kind.verbs.has(method)) throw refuse(405, `not supported \`${method}\` method for ${kind.name}`)
  if (path.length > 0 && (method !== 'PATCH' || deep)) throw refuse(404, 'not found')
  // A slash that was encoded leads below no other item; of a PUT, the schema says what is wrong with it.
  const strays = kind.segments === 1 && name?.includes('/') && method !== 'PUT'
  if (strays || parent?.includes('/')) throw keyNotFound()
}

async function act(items: Items, target: Target, { ctx, method }: { ctx: Context; method: string }): Promise<Answer> {
  const role = ctx.state.role as Role
  switch (method) {
    case 'GET':
      return target.name === undefined ? items.list(target, ctx.query, role) : items.get(target, role)
    case 'DELETE':
      return items.delete(target, { ...terms(ctx), force: parameter(ctx.query, 'force') === 'true' })
    case 'PUT':
      return items.put(target, { ...terms(ctx), body: await readJson(ctx.req) })
    case 'POST':
      return items.post(target, { ...terms(ctx), body: await readJson(ctx.req) })
    default:
      return items.patch(target, { ...terms(ctx), body: await readJson(ctx.req) })
  }
}

function terms(ctx: Context): Terms {
  const ttl = parameter(ctx.query, 'ttl')
  const precondition = preconditionOf(ctx)
  if (ttl === undefined || ctx.method === 'DELETE') return { precondition }
  const ttlSeconds = ttl.trim() === '' ? Number.NaN : Number(ttl)
  if (!Number.isFinite(ttlSeconds)) throw refuse(400, 'invalid argument ttl: should be a number')
  if (!(ttlSeconds >= 1 && ttlSeconds <= longestTtl)) {
    throw refuse(400, `invalid argument ttl: should be between 1 and ${longestTtl} seconds`)
  }
  return { precondition, ttlSeconds }
}

const longestTtl = 1_000_000_000

/** The decoded segments of the path below the base; a slash at the end is none, except in a PATCH, where it speaks. */
function segments(path: string): string[] {
  const parts = path.slice(base.length + 1).split('/')
  if (parts.length <= 3 && parts.at(-1) === '') parts.pop()
  try {
    return parts.map(decodeURIComponent)
  } catch {
    throw refuse(400, 'the path is not percent-encoded UTF-8')
  }
}
