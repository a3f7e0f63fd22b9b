// The admin API of APISIX (facts core 4) as a koa app: who may, which path, which verb. What verbs do is in items.ts.
import Router from '@koa/router'
import Koa, { type Context, type Middleware } from 'koa'
import type { Logger } from '../core/observe/log.ts'
import { type AdminKey, allowed, authenticator, cors, type Role } from './access.ts'
import { answering, keyNotFound, Refused, refuse, send } from './answer.ts'
import { type Answer, type Change, type Items, type ItemsDeps, itemsOf } from './items.ts'
import { type AdminKind, credentials, isWritable, kinds, type WritableKind } from './kinds.ts'
import { parameter } from './listing.ts'
import { readJson } from './request-body.ts'
import { pluginEntries, pluginNames, resourceSchema, schemaOfPlugin, validateAgainst } from './schemas.ts'

export interface AdminApiDeps extends ItemsDeps {
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

const base = '/apisix/admin'

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
    ctx.state.role = authenticate === undefined ? 'admin' : authenticate(ctx)
    return next()
  })
  app.use(describing(deps).routes())
  app.use(serving(itemsOf(deps)))
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

/** Schemas and plugins. Names that are not here fall through to `serving`. */
function describing({ plugins }: AdminApiDeps): Router {
  const router = new Router({ prefix: base })
  const subsystem = (ctx: Context) => parameter(ctx.query, 'subsystem') ?? 'http'
  const missing = (what: string) => () => {
    throw refuse(404, `${what} is not in this version of Sluice`)
  }
  const sendPlugin = (ctx: Context, name = '') => {
    const type = parameter(ctx.query, 'schema_type')
    const which = { subsystem: subsystem(ctx), ...(type !== undefined && { type }) }
    send(ctx, 200, schemaOfPlugin(plugins, name, which))
  }
  router.post('/schema/validate/:collection', async ctx => {
    validateAgainst(ctx.params.collection ?? '', await readJson(ctx.req))
    send(ctx, 200, '')
  })
  router.get('/schema/plugins/:name', ctx => sendPlugin(ctx, ctx.params.name))
  router.get('/schema/:resource', ctx => send(ctx, 200, resourceSchema(ctx.params.resource ?? '')))
  router.get('/plugins/list', ctx => {
    const wanted = subsystem(ctx)
    if (wanted !== 'http' && wanted !== 'stream') throw new Refused(400, 'invalid subsystem passed')
    send(ctx, 200, pluginNames(plugins, wanted))
  })
  router.all('/plugins/reload', missing('plugins/reload'))
  router.get('/plugins/:name', ctx => sendPlugin(ctx, ctx.params.name))
  router.get('/plugins', (ctx, next) => {
    if (parameter(ctx.query, 'all') !== 'true') return next()
    send(ctx, 200, pluginEntries(plugins, subsystem(ctx)))
  })
  router.all('/configs', missing('configs'))
  router.all('/configs/validate', missing('configs/validate'))
  return router
}

/** The items of every kind. */
function serving(items: Items): Middleware {
  return async ctx => {
    const [collection = '', id, ...rest] = segments(ctx.path)
    const method = ctx.method === 'HEAD' ? 'GET' : ctx.method
    if (['schema', 'plugins', 'configs'].includes(collection)) throw refuse(404, 'not found')
    if (collection === 'stream_routes') throw refuse(400, 'stream mode is disabled, can not add stream routes')
    const kind = collection === 'consumers' && rest[0] === 'credentials' ? credentials : kinds.get(collection)
    if (kind === undefined) throw refuse(404, `Unsupported resource type: ${collection}`)
    if (!kind.verbs.has(method)) throw refuse(405, `not supported \`${method}\` method for ${kind.name}`)
    if (!isWritable(kind)) return unserved(ctx, kind, id)
    if (rest.length > 0 && method !== 'PATCH') throw refuse(404, 'not found')
    const answer = await act(items, kind, { ctx, method, id, path: rest })
    const warned = answer.warnings ?? []
    if (warned.length > 0) ctx.set('X-Sluice-Warning', headerText(warned.join('; ')))
    send(ctx, answer.status, answer.body)
  }
}

async function act(
  items: Items,
  kind: WritableKind,
  { ctx, method, id, path }: { ctx: Context; method: string; id: string | undefined; path: readonly string[] },
): Promise<Answer> {
  const role = ctx.state.role as Role
  switch (method) {
    case 'GET':
      return id === undefined ? items.list(kind, ctx.query, role) : items.get(kind, id, role)
    case 'DELETE':
      return items.delete(kind, id, parameter(ctx.query, 'force') === 'true')
    case 'PUT':
      return items.put(kind, id, await change(ctx))
    case 'POST':
      return items.post(kind, id, await change(ctx))
    default:
      return items.patch(kind, id, { ...(await change(ctx)), path })
  }
}

async function change(ctx: Context): Promise<Change> {
  const ttl = parameter(ctx.query, 'ttl')
  const body = await readJson(ctx.req)
  if (ttl === undefined) return { body }
  const ttlSeconds = ttl.trim() === '' ? Number.NaN : Number(ttl)
  if (!Number.isFinite(ttlSeconds)) throw refuse(400, 'invalid argument ttl: should be a number')
  if (!(ttlSeconds >= 1 && ttlSeconds <= longestTtl)) {
    throw refuse(400, `invalid argument ttl: should be between 1 and ${longestTtl} seconds`)
  }
  return { body, ttlSeconds }
}

const longestTtl = 1_000_000_000

/** A kind that this version has not: there are none, and none can be made. */
function unserved(ctx: Context, { kind }: AdminKind, id: string | undefined): void {
  if (['PUT', 'POST', 'PATCH'].includes(ctx.method))
    throw refuse(400, `${kind} is not served by this version of Sluice`)
  if (ctx.method === 'DELETE' || id !== undefined) throw keyNotFound()
  send(ctx, 200, { total: 0, list: [] })
}

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

/** What may stand in a header field. */
function headerText(text: string): string {
  return text.replace(/[^ -~]/g, '?').slice(0, 2000)
}
