// An admin API in this process on a real socket, with a store in memory and plugins of its own; every test makes one.
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import type Koa from 'koa'
import { type AdminApiDeps, adminApi } from '../../admin/admin-api.ts'
import { Catalogue } from '../../admin/catalogue.ts'
import { type ItemsDeps, itemsOf } from '../../admin/items.ts'
import { tagsOf } from '../../admin/references.ts'
import { Keyring } from '../../core/keyring.ts'
import { silent } from '../../core/observe/log.ts'
import { type Plugin, plugin } from '../../core/plugin.ts'
import type { ConfigSource, Store } from '../../core/store/store.ts'
import { MemoryStore } from './memory-store.ts'

export const adminKey = 'the-key-of-the-admin'
export const viewerKey = 'the-key-of-the-viewer'

const keyAuth = plugin({
  name: 'key-auth',
  priority: 2500,
  version: 0.1,
  type: 'auth',
  schema: { type: 'object', properties: { header: { type: 'string', default: 'apikey' } } },
  consumer: { type: 'object', properties: { key: { type: 'string' } }, required: ['key'] },
  credential: config => config.key,
  encrypt: ['key'],
  setup: () => ({}),
})

const aiProxy = plugin({
  name: 'ai-proxy',
  priority: 1040,
  version: 0.1,
  schema: {
    type: 'object',
    properties: {
      provider: { type: 'string', enum: ['openai', 'deepseek'] },
      auth: {
        type: 'object',
        properties: { header: { type: 'object', additionalProperties: { type: 'string', maxLength: 1000 } } },
      },
      timeout: { type: 'integer', minimum: 1, default: 30000 },
      keepalive_pool: { type: 'integer', minimum: 1 },
    },
    required: ['provider', 'auth'],
  },
  metadata: { type: 'object', properties: { log_format: { type: 'object' } } },
  encrypt: ['auth.header'],
  inert: ['keepalive_pool'],
  check: ({ timeout }) => (timeout === 13 ? 'thirteen brings bad luck' : undefined),
  setup: () => ({}),
})

const late = plugin({
  name: 'late',
  priority: 10,
  version: 1,
  schema: { type: 'object', properties: { n: { type: 'integer' } }, additionalProperties: false },
  setup: () => ({}),
})

export const fakePlugins: ReadonlyMap<string, Plugin> = new Map([keyAuth, aiProxy, late].map(each => [each.name, each]))

export interface Reply {
  status: number
  headers: Headers
  text: string
  // biome-ignore lint/suspicious/noExplicitAny: tests look at any JSON
  json: any
}

export interface TestServer {
  url: string
  /** Paths are below the server; a body that is no string is sent as JSON. */
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Reply>
  close(): Promise<void>
}

export interface AdminOn<S extends Store> extends TestServer {
  store: S
  keyring: Keyring
  /** Calls below /apisix/admin with the key of the admin; `as` is another key. */
  admin(method: string, path: string, body?: unknown, as?: string): Promise<Reply>
}

export type TestAdmin = AdminOn<MemoryStore>

/** Serves a koa app on a free port. */
export async function serve(app: Koa): Promise<TestServer> {
  const server = createServer(app.callback() as RequestListener)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url,
    async call(method, path, body, headers = {}) {
      const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body)
      const answer = await fetch(url + path, { method, headers, ...(text !== undefined && { body: text }) })
      const received = await answer.text()
      return { status: answer.status, headers: answer.headers, text: received, json: parsed(received) }
    },
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** `source` is what the catalogue follows; the store without it. */
type Options = Partial<AdminApiDeps & Pick<ItemsDeps, 'now' | 'applied'> & { source: ConfigSource }>

export function startAdmin(options: Options = {}): Promise<TestAdmin> {
  return startAdminOn(new MemoryStore(), options)
}

/** The same on a store that is given, and closed in the end. */
export async function startAdminOn<S extends Store>(
  store: S,
  { now = Date.now, applied = async () => {}, source = store, plugins = fakePlugins, ...options }: Options = {},
): Promise<AdminOn<S>> {
  const keyring = new Keyring(['0123456789abcdef'])
  const catalogue = new Catalogue({ source, tags: tagsOf({ plugins, keyring }), log: silent })
  await catalogue.start()
  const server = await serve(
    adminApi({
      items: itemsOf({ store, catalogue, keyring, plugins, now, applied }),
      configs: undefined,
      plugins,
      pluginChoice: { known: plugins, enabled: plugins },
      reload: async () => {},
      keys: [
        { name: 'admin', key: adminKey, role: 'admin' },
        { name: 'viewer', key: viewerKey, role: 'viewer' },
      ],
      allowAdmin: ['127.0.0.0/24'],
      cors: true,
      log: silent,
      serverName: 'APISIX/3.18.0',
      version: '0.1.0',
      ...options,
    }),
  )
  return {
    ...server,
    store,
    keyring,
    admin: (method, path, body, as = adminKey) =>
      server.call(method, `/apisix/admin${path}`, body, { 'X-API-KEY': as }),
    async close() {
      await server.close()
      catalogue.close()
      await store.close()
    },
  }
}
