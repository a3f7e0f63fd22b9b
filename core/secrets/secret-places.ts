// Where secrets stand in what the store keeps: private keys, and what plugins name; knows neither keyrings nor ciphers.
import { namesCredential } from '../observe/credentials.ts'
import type { Plugin } from '../plugin.ts'
import { copied, isObject } from '../schema/json.ts'
import type { Item, Kind } from '../store/store.ts'

/** What an item is without its revisions. */
export type Entry = Pick<Item, 'kind' | 'id' | 'value'>

/** Names of members and positions in lists, from the value on. */
export type Path = readonly (string | number)[]

export interface Secret {
  readonly path: Path
  /** The path in words, without positions: `plugins.ai-proxy.auth.header.Authorization`. */
  readonly field: string
  readonly text: string
  /** `sealed` is encrypted in the store; `key` too, and in clear it is PEM; `hidden` only from eyes that may not see it. */
  readonly as: 'sealed' | 'key' | 'hidden'
}

/** What is shown in the place of a secret. */
export const MASK = '***'

type Plugins = ReadonlyMap<string, Plugin>

/** Private keys of resources (facts core 4.10). */
const keys: Partial<Record<Kind, readonly string[]>> = {
  ssls: ['key', 'keys'],
  upstreams: ['tls.client_key'],
  routes: ['upstream.tls.client_key'],
  services: ['upstream.tls.client_key'],
}

/** What opens a secret manager: APISIX keeps it in clear, and could not read it otherwise (facts core 3.10). */
const managers: Partial<Record<Kind, readonly string[]>> = {
  secrets: ['token', 'secret_access_key', 'session_token', 'auth_config.private_key'],
}

/**
 * Every secret of an item, each once. `named` is with what plugins do not name as secrets and is one by its own name: a header that
 * `proxy-rewrite` sets, say. It is hidden from eyes, and nothing else.
 */
export function secretsIn({ kind, id, value }: Entry, plugins: Plugins, named = false): readonly Secret[] {
  const found = new Map<string, Secret>()

  function follow(node: unknown, rest: readonly string[], path: Path, as: Secret['as']): void {
    if (Array.isArray(node)) {
      for (const [at, inner] of node.entries()) follow(inner, rest, [...path, at], as)
    } else if (isObject(node)) {
      for (const [name, inner] of onTheWay(node, rest[0])) {
        follow(inner, name === rest[0] ? rest.slice(1) : rest, [...path, name], as)
      }
    } else if (node !== null && node !== undefined) {
      // What stands where there should be more, or is no text, fits no schema: it is shown to nobody, and that is all.
      const kept = rest.length === 0 && typeof node === 'string' ? as : 'hidden'
      const key = JSON.stringify(path)
      const field = path.filter(step => typeof step === 'string').join('.')
      if ((found.get(key)?.as ?? 'hidden') === 'hidden') found.set(key, { path, field, text: String(node), as: kept })
    }
  }

  function lookFor(paths: readonly string[], holder: unknown, base: Path, as: Secret['as']): void {
    for (const path of paths) {
      const [first = '', ...rest] = path.split('.')
      if (isObject(holder) && Object.hasOwn(holder, first)) follow(holder[first], rest, [...base, first], as)
    }
  }

  function lookByName(node: unknown, path: Path): void {
    if (Array.isArray(node)) {
      for (const [at, inner] of node.entries()) {
        // The mask of a whole line has no name left.
        if (typeof inner === 'string' && (inner === MASK || isCredentialLine(inner)))
          follow(inner, [], [...path, at], 'hidden')
        else lookByName(inner, [...path, at])
      }
    } else if (isObject(node)) {
      for (const [name, inner] of Object.entries(node)) {
        if (typeof inner !== 'string') lookByName(inner, [...path, name])
        else if (namesCredential(name) && isSaid(inner)) follow(inner, [], [...path, name], 'hidden')
      }
    }
  }

  lookFor(keys[kind] ?? [], value, [], 'key')
  lookFor(managers[kind] ?? [], value, [], 'hidden')
  for (const [name, config, base] of pluginConfigs({ kind, id, value })) {
    const plugin = plugins.get(name)
    // Nobody knows what is secret in the configuration of a plugin that nobody knows, or in one that is no object.
    if (plugin === undefined || !isObject(config)) follow(config, [], base, 'hidden')
    else {
      lookFor(plugin.encrypt ?? [], config, base, 'sealed')
      if (named) lookByName(config, base)
    }
  }
  if (named) for (const [checks, base] of healthChecks(value)) lookByName(checks, base)
  return [...found.values()]
}

/** A field as lists have it: `Authorization: Basic ...`. */
function isCredentialLine(text: string): boolean {
  const [, name, said] = /^([\w-]+)\s*:\s*(.+)$/.exec(text) ?? []
  return name !== undefined && namesCredential(name) && isSaid(said!)
}

/** A variable of a request (`$http_x_token`) is the name of a secret at most. */
function isSaid(text: string): boolean {
  return text !== '' && !/^\$\{?\w+\}?$/.test(text)
}

/** Probes of upstreams have fields of their own. */
function healthChecks({ checks, upstream }: Entry['value']): [checks: unknown, at: Path][] {
  const inner = isObject(upstream) ? upstream.checks : undefined
  return [
    [checks, ['checks']],
    [inner, ['upstream', 'checks']],
  ]
}

function pluginConfigs({ kind, id, value }: Entry): [name: string, config: unknown, at: Path][] {
  if (kind === 'plugin_metadata') {
    const { id: _, ...config } = value
    return [[id, config, []]]
  }
  const configs = isObject(value.plugins) ? value.plugins : {}
  return Object.entries(configs).map(([name, config]) => [name, config, ['plugins', name]])
}

/** Where a path goes on: into everything at its end, to its next step, or through a map whose names nobody could list. */
function onTheWay(node: Record<string, unknown>, step: string | undefined): [name: string, inner: unknown][] {
  if (step === undefined) return Object.entries(node)
  if (Object.hasOwn(node, step)) return [[step, node[step]]]
  return Object.entries(node).filter(([, inner]) => isObject(inner) && Object.hasOwn(inner, step))
}

/**
 * The text of another version of a value that stands where `path` leads in this one. In a list that is the element of the same
 * name, or where they have none of the same position while the list is as long: another's secret must not come in its place.
 */
export function counterpart(value: unknown, path: Path, other: unknown): string | undefined {
  let [here, there] = [value, other]
  for (const step of path) {
    if (Array.isArray(here)) {
      there = Array.isArray(there) ? twin(here, step as number, there) : undefined
      here = here[step as number]
    } else if (isObject(here)) {
      there = isObject(there) && Object.hasOwn(there, step) ? there[step] : undefined
      here = here[step]
    }
  }
  return typeof there === 'string' ? there : undefined
}

function twin(list: readonly unknown[], at: number, others: readonly unknown[]): unknown {
  const one = list[at]
  if (!isObject(one) || one.name === undefined) return list.length === others.length ? others[at] : undefined
  return others.find(other => isObject(other) && other.name === one.name)
}

/** A copy of a value with other texts where these secrets stand; the value itself when there are none. */
export function withTexts(value: Entry['value'], texts: ReadonlyMap<Secret, string>): Entry['value'] {
  if (texts.size === 0) return value
  const copy = copied(value)
  for (const [{ path }, text] of texts) {
    let holder = copy as Record<string | number, unknown>
    for (const step of path.slice(0, -1)) holder = holder[step] as typeof holder
    holder[path.at(-1)!] = text
  }
  return copy
}
