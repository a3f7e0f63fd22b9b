// Where a provider is asked, and what the operator adds to every request: worked out once per config.
import type { KeepAlive } from '../proxy/transport.ts'
import type { Auth } from './auth/auth.ts'
import type { JsonObject } from './json.ts'
import { aside } from './protocols/detect.ts'
import type { ProtocolName } from './protocols/protocol.ts'
import type { Provider } from './providers/provider.ts'
import { strictEscape } from './strict-escape.ts'

/** What an operator lays over requests; secrets are in `headers`, `query` and `auth` only. */
export interface TargetConfig {
  provider: Provider
  /** Its name in labels and logs. */
  instance: string
  /** scheme://host[:port][/path][?query]; undefined means the provider's own. */
  endpoint: string | undefined
  /** Where in the provider's world. */
  conf?: { readonly region?: string; readonly project_id?: string }
  headers: Readonly<Record<string, string>>
  query: Readonly<Record<string, string>>
  auth?: Auth | undefined
  /** Members that replace those of the body. */
  options: JsonObject
  maxTokens: number | undefined
  /** Per protocol, merged into the body; `force` lets it replace what the client says. */
  requestBody: Readonly<Partial<Record<ProtocolName, JsonObject>>>
  force: boolean
  verify: boolean
  /** What becomes of the connection afterwards; false closes it. */
  keepAlive: KeepAlive | boolean
  /** Of the client's header fields only those that say nothing of who it is (`forward_headers: safe`). */
  safeHeaders?: boolean
}

export interface Target extends Omit<TargetConfig, 'endpoint' | 'query' | 'headers' | 'conf'> {
  /** By lower-case name. */
  headers: ReadonlyMap<string, string>
  /** Fields that a client may send and this provider does not get: the operator's or `auth` stand in their place. */
  withheld: ReadonlySet<string>
  /** What the operator's headers and query say: none of it is a client's to see. */
  secrets: readonly string[]
  /** Undefined when nobody said where the provider is. */
  place: Place | undefined
}

/** What a path may depend on. */
export interface Asked {
  readonly model: unknown
  readonly streams: boolean
}

export interface Place {
  /** scheme://host:port */
  readonly origin: string
  /** `host:port` as configured. */
  readonly address: string
  readonly scheme: string
  /** Without port. */
  readonly host: string
  readonly port: number
  /** As the Host header has it: without the port where that is the scheme's own. */
  readonly hostHeader: string
  /** `origin` is but one address of the host: requests must say its name, in Host and to TLS. */
  readonly pinned?: boolean
  /** Path and query on the wire; undefined for a protocol that the provider does not speak, and where the path needs what is not known. */
  target(protocol: ProtocolName, asked: Asked): string | undefined
  /** The same for a request that is passed through: the client's own path (normalised) and query. */
  passage(path: string, search: string): string
}

export function openTarget(config: TargetConfig): Target {
  const { endpoint: _, query: __, conf: ___, ...rest } = config
  const headers = new Map(Object.entries(config.headers).map(([name, value]) => [name.toLowerCase(), value]))
  return {
    ...rest,
    headers,
    secrets: [...headers.values(), ...Object.values(config.query)],
    withheld: new Set([...headers.keys(), ...(config.auth?.replaces ?? [])]),
    place: placeOf(config),
  }
}

/** The same target at one of the addresses (`ip:port`) that its host's name stands for. */
export function targetAt(target: Target, address: string): Target {
  const { place } = target
  if (place === undefined) return target
  return { ...target, place: { ...place, origin: `${place.scheme}://${address}`, address, pinned: true } }
}

/** facts ai-plugins 3.3: an endpoint's path, even a lone slash, takes the place of the protocol's. */
function placeOf({ provider, endpoint, query, conf = {} }: TargetConfig): Place | undefined {
  const stated = endpoint ?? filled(provider.origin, conf)
  const url = stated === undefined ? undefined : endpointUrl(stated)
  if (url === undefined) return undefined
  const { hostname, pathname, searchParams } = url
  const scheme = url.protocol.slice(0, -1)
  const port = Number(url.port || (scheme === 'https' ? 443 : 80))
  const address = `${hostname}:${port}`
  const args = new URLSearchParams(query)
  for (const name of new Set(searchParams.keys())) args.delete(name)
  for (const [name, value] of searchParams) args.append(name, value)
  const search = args.size === 0 ? '' : `?${args}`
  const ownPath = /^\w+:\/\/[^/?#]*\//.test(stated!) ? pathname : undefined
  const fixed = (paths: Provider['paths'] = {}): Provider['paths'] =>
    Object.fromEntries(Object.entries(paths).map(([protocol, path]) => [protocol, ownPath ?? filled(path, conf)]))
  const paths = fixed(provider.paths)
  const streamPaths = { ...paths, ...fixed(provider.streamPaths) }
  const base = baseOf(ownPath ?? paths['openai-chat'] ?? paths['anthropic-messages'] ?? '')
  return {
    origin: `${scheme}://${address}`,
    address,
    scheme,
    host: hostname,
    port,
    hostHeader: url.host,
    target(protocol, { model, streams }) {
      const path = (streams ? streamPaths : paths)[protocol]
      const whole = path?.includes('{model}') ? withModel(path, model) : path
      return whole && whole + search
    },
    passage(clientPath, clientSearch) {
      const beside = aside(clientPath)
      let path = ownPath ?? encodePath(clientPath)
      // An endpoint's path is that of one API: at it, a question that is no chat would be taken for one.
      if (beside !== undefined) path = base === undefined ? encodePath(clientPath) : base + encodePath(beside)
      return path + queryOf(args, query, clientSearch)
    },
  }
}

/** What stands before the name of an API in its path: `/v1` of `/v1/chat/completions`. */
function baseOf(path: string): string | undefined {
  return /^(.*?)\/(?:(?:chat\/)?completions|messages|responses|embeddings)$/.exec(path)?.[1]
}

/** The client's arguments take the place of the endpoint's, but not of the operator's (facts ai-plugins 3.3). */
function queryOf(args: URLSearchParams, query: Readonly<Record<string, string>>, search: string): string {
  if (args.size === 0) return search === '' ? '' : `?${search}`
  const all = new URLSearchParams(args)
  const own = new URLSearchParams(search)
  for (const name of new Set(own.keys())) {
    if (Object.hasOwn(query, name)) continue
    all.delete(name)
    for (const value of own.getAll(name)) all.append(name, value)
  }
  return `?${all}`
}

/** A path that was decoded, as it goes on the wire. */
function encodePath(path: string): string {
  return encodeURI(path).replace(/[?#]/g, encodeURIComponent)
}

/** A template with what `conf` says; undefined where it does not say all of it. `{model}` is left for later. */
function filled(template: string | undefined, conf: NonNullable<TargetConfig['conf']>): string | undefined {
  if (template === undefined) return undefined
  let known = true
  const text = template.replace(/\{(region|project_id)\}/g, (_, name: 'region' | 'project_id') => {
    const value = conf[name]
    if (value === undefined || value === '') known = false
    return strictEscape(value ?? '')
  })
  return known ? text : undefined
}

/** Clients choose models: one that could lead to another path is none. */
function withModel(path: string, model: unknown): string | undefined {
  if (typeof model !== 'string' || /^\.{0,2}$/.test(model)) return undefined
  return path.replace('{model}', () => strictEscape(model))
}

/** The endpoint, if it is one: http or https, without credentials. */
export function endpointUrl(endpoint: string): URL | undefined {
  const url = URL.parse(endpoint)
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') return undefined
  return url
}
