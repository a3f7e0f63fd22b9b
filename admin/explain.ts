// Why a request did what it did, and what would become of one, at the control API; shows configs as the rest of it does, without secrets.
import { isIP } from 'node:net'
import Router from '@koa/router'
import type { AskedRequest, PlacedPlugin, Rehearsal, Rehearsed } from '../core/explain/rehearsal.ts'
import type { Keyring } from '../core/keyring.ts'
import type { KnownPlugins } from '../core/known-plugins.ts'
import type { Infer, Schema } from '../core/plugin.ts'
import type { CheckedUpstream } from '../core/proxy/health/keeper.ts'
import { isObject, validator } from '../core/schema.ts'
import { refuse, send } from './answer.ts'
import type { Catalogue } from './catalogue.ts'
import { readJson } from './request-body.ts'

export interface ExplainDeps {
  catalogue: Pick<Catalogue, 'get'>
  plugins: KnownPlugins
  keyring: Pick<Keyring, 'maskItem'>
  /** What the request of that id went through; `silent` are workers that did not answer. */
  decision(id: string): Promise<{ found: object | undefined; silent: readonly number[] }>
  /** What would become of a request; undefined when no worker answers. */
  rehearse(asked: AskedRequest): Promise<Rehearsed | undefined>
  /** Every upstream that is checked, by the key of the item that it stands on. */
  checked(): readonly CheckedUpstream[]
}

const value = { type: 'string', maxLength: 16_384, pattern: '^[^\\r\\n\\0]*$' } as const

const schema = {
  type: 'object',
  properties: {
    method: { type: 'string', pattern: '^[A-Z][A-Z-]{0,31}$', default: 'GET' },
    uri: { type: 'string', maxLength: 16_384, pattern: '^/[!-~]*$' },
    /** In the place of a Host among the headers. */
    host: { type: 'string', maxLength: 1_024, pattern: '^[!-~]*$' },
    headers: {
      type: 'object',
      maxProperties: 1_000,
      propertyNames: { type: 'string', pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$" },
      additionalProperties: { anyOf: [value, { type: 'array', maxItems: 100, items: value }] },
      default: {},
    },
    remote_addr: { type: 'string', default: '127.0.0.1' },
    /** An object or a list goes as JSON. */
    body: { anyOf: [{ type: 'string' }, { type: 'object' }, { type: 'array' }] },
    consumer: { type: 'string', maxLength: 256, minLength: 1 },
  },
  required: ['uri'],
  additionalProperties: false,
} as const satisfies Schema

const { check, fill } = validator<Infer<typeof schema>>(schema, { references: false })

export function explain({ catalogue, plugins, keyring, decision, rehearse, checked }: ExplainDeps): Router {
  const router = new Router({ prefix: '/v1/explain' })

  router.get('/:id', async ctx => {
    const id = ctx.params.id ?? ''
    const { found, silent } = await decision(id)
    if (found !== undefined) return send(ctx, 200, found)
    const who = `worker${silent.length === 1 ? '' : 's'} ${silent.join(', ')}`
    if (silent.length > 0) throw refuse(503, `request[${id}] is not known to those who answered; ${who} did not`)
    throw refuse(404, `request[${id}] is not known: none of that id has come, or it is no longer kept (sluice.explain)`)
  })

  router.post('/', async ctx => {
    const said = await rehearse(askedRequest(await readJson(ctx.req)))
    if (said === undefined) throw refuse(503, 'no worker has answered')
    if ('problem' in said) throw refuse(400, said.problem)
    send(ctx, 200, shown(said))
  })

  function shown(said: Rehearsal): object {
    const masked = new Map<string, Readonly<Record<string, unknown>>>()
    const withConfig = ({ from, ...plugin }: PlacedPlugin) => {
      const key = `${from.kind}/${from.id}`
      const configs = masked.get(key) ?? configsOf(from)
      masked.set(key, configs)
      return { ...plugin, from, config: configs[plugin.name] }
    }
    return {
      ...said,
      plugins: said.plugins.map(withConfig),
      global_plugins: said.global_plugins.map(withConfig),
      health: healthOf(said),
    }
  }

  /** The plugins of a resource as they are shown; none when it has gone meanwhile. */
  function configsOf({ kind, id }: PlacedPlugin['from']): Readonly<Record<string, unknown>> {
    const item = catalogue.get(kind, id)
    const configs = item && keyring.maskItem(item, plugins).plugins
    return isObject(configs) ? configs : {}
  }

  /** Of the upstream, and of what plugins have checked themselves. */
  function healthOf({ upstream, plugins: all }: Rehearsal): CheckedUpstream[] {
    const places = all.map(({ from }) => from)
    if (upstream !== undefined && 'from' in upstream) places.push(upstream.from)
    const names = new Set(places.map(({ kind, id }) => `/apisix/${kind}/${id}`))
    return checked().filter(({ name }) => names.has(name.split('#', 1)[0]!))
  }

  return router
}

/** Throws 400 for what is no request. */
function askedRequest(body: unknown): AskedRequest {
  const wrong = check(body ?? {})
  if (wrong !== undefined) throw refuse(400, `invalid request: ${wrong}`)
  const { method, uri, host, headers, remote_addr, body: content, consumer } = fill(body)
  if (isIP(remote_addr) === 0) throw refuse(400, 'invalid request: remote_addr is no IP address')
  const isText = content === undefined || typeof content === 'string'
  const fields = Object.entries(headers).flatMap(([name, given]) => [given].flat().flatMap(each => [name, each]))
  const has = (name: string) => Object.keys(headers).some(each => each.toLowerCase() === name)
  if (host !== undefined && has('host')) throw refuse(400, 'invalid request: host, and a Host among the headers')
  if (host !== undefined) fields.unshift('Host', host)
  if (!isText && !has('content-type')) fields.push('Content-Type', 'application/json')
  return { method, uri, headers: fields, remote_addr, body: isText ? content : JSON.stringify(content), consumer }
}
