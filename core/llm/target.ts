// Where a provider is asked, and what the operator adds to every request: worked out once per config.
import type { JsonObject } from './json.ts'
import { aside } from './protocols/detect.ts'
import type { ProtocolName } from './protocols/protocol.ts'
import type { Provider } from './providers/provider.ts'

/** What an operator lays over requests; secrets are in `headers` and `query` only. */
export interface TargetConfig {
  provider: Provider
  /** Its name in labels and logs. */
  instance: string
  /** scheme://host[:port][/path][?query]; undefined means the provider's own. */
  endpoint: string | undefined
  headers: Readonly<Record<string, string>>
  query: Readonly<Record<string, string>>
  /** Members that replace those of the body. */
  options: JsonObject
  maxTokens: number | undefined
  /** Per protocol, merged into the body; `force` lets it replace what the client says. */
  requestBody: Readonly<Partial<Record<ProtocolName, JsonObject>>>
  force: boolean
  verify: boolean
  /** Whether the connection may be used again. */
  keepAlive: boolean
}

export interface Target extends Omit<TargetConfig, 'endpoint' | 'query' | 'headers'> {
  /** By lower-case name. */
  headers: ReadonlyMap<string, string>
  /** Undefined when nobody said where the provider is. */
  place: Place | undefined
}

export interface Place {
  /** scheme://host:port */
  readonly origin: string
  /** `host:port` as configured. */
  readonly address: string
  readonly scheme: string
  /** Without port. */
  readonly host: string
  /** Path and query on the wire; undefined for a protocol that the provider does not have. */
  target(protocol: ProtocolName): string | undefined
  /** The same for a request that is passed through: the client's own path (normalised) and query. */
  passage(path: string, search: string): string
}

export function openTarget(config: TargetConfig): Target {
  const { endpoint, query, ...rest } = config
  return {
    ...rest,
    headers: new Map(Object.entries(config.headers).map(([name, value]) => [name.toLowerCase(), value])),
    place: placeOf(config.provider, endpoint, query),
  }
}

/** facts ai-plugins 3.3: an endpoint's path, even a lone slash, takes the place of the protocol's. */
function placeOf(
  provider: Provider,
  endpoint: string | undefined,
  query: Readonly<Record<string, string>>,
): Place | undefined {
  const stated = endpoint ?? provider.origin
  const url = stated === undefined ? undefined : endpointUrl(stated)
  if (url === undefined) return undefined
  const { hostname, pathname, searchParams } = url
  const scheme = url.protocol.slice(0, -1)
  const address = `${hostname}:${url.port || (scheme === 'https' ? 443 : 80)}`
  const args = new URLSearchParams(query)
  for (const name of new Set(searchParams.keys())) args.delete(name)
  for (const [name, value] of searchParams) args.append(name, value)
  const search = args.size === 0 ? '' : `?${args}`
  const ownPath = /^\w+:\/\/[^/?#]*\//.test(stated!) ? pathname : undefined
  const base = baseOf(ownPath ?? provider.paths['openai-chat'] ?? provider.paths['anthropic-messages'] ?? '')
  return {
    origin: `${scheme}://${address}`,
    address,
    scheme,
    host: hostname,
    target(protocol: ProtocolName) {
      const path = ownPath ?? provider.paths[protocol]
      return path && path + search
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

/** The endpoint, if it is one: http or https, without credentials. */
export function endpointUrl(endpoint: string): URL | undefined {
  const url = URL.parse(endpoint)
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') return undefined
  return url
}
