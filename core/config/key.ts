// What a key of the configuration may hold and what it becomes: small readers that are put together; knows no key by name.
import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import { Substituted } from './source.ts'

/** Where a value stands, and how to complain about it. `path` is dotted: `deployment.admin.admin_key[0].name`. */
export interface Place {
  readonly path: string
  key(name: string): Place
  item(index: number): Place
  fail(message: string): never
  /** A key that its group does not know; `siblings` are those it does. Fails or warns. */
  stranger(name: string, raw: unknown, siblings: readonly string[]): void
}

/** One key. `fallback` is the default as it would be written in YAML, undefined when there is none. */
export interface Key<T> {
  readonly fallback: unknown
  /** The keys of a group. */
  readonly keys?: Readonly<Record<string, Key<unknown>>>
  /** Nothing is meant by leaving it out; without this, a key that has no default must be written. */
  readonly optional?: true
  /** What null means; without it null is refused, because it would delete a default that is needed (facts core 7). */
  readonly none?: { readonly value: T }
  read(raw: unknown, at: Place): T
}

type Read<K> = K extends Key<infer T> ? T : never

type Camel<S extends string> = S extends `${infer Head}_${infer Tail}` ? `${Head}${Capitalize<Camel<Tail>>}` : S

/** What a group becomes: the same tree with camelCase names. */
export type Values<S> = { readonly [K in keyof S as Camel<K & string>]: Read<S[K]> }

/** A value in an error message: enough to find it, and nothing of what may be a secret. */
export function shown(raw: unknown): string {
  if (raw instanceof Substituted) return `the value of ${raw.names}`
  if (typeof raw === 'string') return raw.length > 40 ? 'a long text' : JSON.stringify(raw)
  return raw === null || typeof raw !== 'object' ? String(raw) : kindOf(raw)
}

function kindOf(raw: unknown): string {
  if (raw instanceof Substituted) return `the value of ${raw.names}`
  if (Array.isArray(raw)) return 'a list'
  if (raw === null) return 'null'
  return { string: 'text', number: 'a number', boolean: 'true or false' }[typeof raw as string] ?? 'a group of keys'
}

/** The value of what came from the environment, everything else as it is; `wording` is the same for where text is wanted. */
export const unwrap = (raw: unknown) => (raw instanceof Substituted ? raw.value : raw)
const wording = (raw: unknown) => (raw instanceof Substituted ? raw.text : raw)
const figure = (raw: unknown) => (['string', 'number'].includes(typeof unwrap(raw)) ? String(unwrap(raw)) : '')

export function isGroup(raw: unknown): raw is Readonly<Record<string, unknown>> {
  return typeof raw === 'object' && raw !== null && !Array.isArray(raw) && !(raw instanceof Substituted)
}

/** A group of keys: what is not written has its default, what is not known is a stranger. */
export function group<const S extends Record<string, Key<unknown>>>(keys: S): Key<Values<S>> & { readonly keys: S } {
  const names = Object.keys(keys)
  return {
    fallback: {},
    keys,
    read(raw, at) {
      if (!isGroup(raw)) return at.fail(`expected a group of keys, got ${kindOf(raw)}`)
      for (const name of Object.keys(raw)) if (!Object.hasOwn(keys, name)) at.stranger(name, raw[name], names)
      const values = names.map(name => [
        name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase()),
        readKey(keys[name] as Key<unknown>, raw[name], at.key(name)),
      ])
      return Object.fromEntries(values) as Values<S> // the two lines above are what Values says
    },
  }
}

function readKey<T>(key: Key<T>, raw: unknown, at: Place): T | undefined {
  const written = raw === undefined ? key.fallback : raw
  if (written === undefined) return key.optional ? undefined : at.fail('is missing')
  if (written !== null) return key.read(written, at)
  if (key.none !== undefined) return key.none.value
  return at.fail('is null: leave the key out to have its default')
}

/** The key may be null, and then is `value`. */
export function orNone<T, const N>(key: Key<T>, value: N): Key<T | N> {
  return { ...key, none: { value } }
}

/** The key has no default, and is undefined when it is not written. */
export function optional<T>(key: Key<T>): Key<T | undefined> {
  return { ...key, fallback: undefined, optional: true }
}

/** The key passes `check` besides, which returns what is wrong with the value, if anything. */
export function checked<T>(key: Key<T>, check: (value: T) => string | undefined): Key<T> {
  return {
    ...key,
    read(raw, at) {
      const value = key.read(raw, at)
      const wrong = check(value)
      return wrong === undefined ? value : at.fail(wrong)
    },
  }
}

/** What is read becomes what `to` makes of it. */
export function mapped<T, U>(key: Key<T>, to: (value: T) => U): Key<U> {
  const { none, ...rest } = key
  return { ...rest, ...(none && { none: { value: to(none.value) } }), read: (raw, at) => to(key.read(raw, at)) }
}

export function list<T>(item: Key<T>, fallback: readonly unknown[]): Key<readonly T[]> {
  return {
    fallback,
    read(raw, at) {
      if (!Array.isArray(raw)) at.fail(`expected a list, got ${kindOf(raw)}`)
      return (raw as unknown[]).map((each, index) => item.read(each, at.item(index)))
    },
  }
}

export function flag(fallback: boolean): Key<boolean> {
  return {
    fallback,
    read(raw, at) {
      const value = unwrap(raw)
      return typeof value === 'boolean' ? value : at.fail(`expected true or false, got ${shown(raw)}`)
    },
  }
}

export function integer(fallback: number | undefined, min: number, max: number): Key<number> {
  return {
    fallback,
    read(raw, at) {
      const value = unwrap(raw)
      if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value
      return at.fail(`expected a whole number from ${min} to ${max}, got ${shown(raw)}`)
    },
  }
}

/** A TCP port; 0 is any free one. */
export const port = (fallback?: number) => integer(fallback, 0, 65_535)

/** Text, which may be a secret: errors do not show it. */
export function text(fallback: string | undefined, expected = 'text', pattern = /^/): Key<string> {
  return {
    fallback,
    read(raw, at) {
      const value = wording(raw)
      if (typeof value !== 'string') return at.fail(`expected ${expected}, got ${kindOf(raw)}`)
      return pattern.test(value) ? value : at.fail(`expected ${expected}`)
    },
  }
}

/** One of the words served; `later` are words of APISIX's that this version does not serve. */
export function oneOf<const W extends string>(
  words: readonly W[],
  fallback?: NoInfer<W>,
  later: readonly string[] = [],
): Key<W> {
  return {
    fallback,
    read(raw, at) {
      const value = wording(raw)
      const served = words.find(word => word === value)
      if (served !== undefined) return served
      if (later.some(word => word === value)) {
        return at.fail(`${shown(raw)} is not served in this version, only ${words.join(', ')}`)
      }
      return at.fail(`expected ${words.length === 1 ? '' : 'one of '}${words.join(', ')}, got ${shown(raw)}`)
    },
  }
}

/** An IP address, without the brackets that IPv6 may have. */
export function ip(fallback?: string): Key<string> {
  return {
    fallback,
    read(raw, at) {
      const value = wording(raw)
      const bare = typeof value === 'string' ? value.replace(/^\[(.*)\]$/, '$1') : ''
      return isIP(bare) !== 0 ? bare : at.fail(`expected an IP address, got ${shown(raw)}`)
    },
  }
}

/** An IP address or a CIDR range. */
export function network(): Key<string> {
  return {
    fallback: undefined,
    read(raw, at) {
      const value = wording(raw)
      if (typeof value === 'string' && (isIP(value) !== 0 || ipaddr.isValidCIDR(value))) return value
      return at.fail(`expected an IP address or a CIDR range such as 10.0.0.0/8, got ${shown(raw)}`)
    },
  }
}

/** An IP address, and a port if it is not the usual one: `10.0.0.2`, `10.0.0.2:5353`, `[fd00::2]:5353`. */
export function server(): Key<string> {
  return {
    fallback: undefined,
    read(raw, at) {
      const value = wording(raw)
      const [, bracketed, plain, number] = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(String(value)) ?? []
      const known = typeof value === 'string' && (isIP(value) !== 0 || isIP(bracketed ?? plain ?? '') !== 0)
      if (known && (number === undefined || (Number(number) > 0 && Number(number) <= 65_535))) return value
      return at.fail(`expected an IP address, or one with a port such as 10.0.0.2:53, got ${shown(raw)}`)
    },
  }
}

const millisecondsOf: Record<string, number> = { ms: 1, '': 1000, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const longest = 2 ** 31 - 1 // Node's timers fire at once when they are given more

/** A duration in milliseconds, written as nginx does: `60s`, `1m30s`, `500ms`, or a number of seconds. */
export function duration(fallback: string, min = 0): Key<number> {
  return {
    fallback,
    read(raw, at) {
      const written = figure(raw)
      if (!/^(\d+(ms|[smhd]))+$|^\d+(\.\d+)?$/.test(written)) {
        return at.fail(`expected a duration such as 60s, 1m30s or 500ms, got ${shown(raw)}`)
      }
      let total = 0
      for (const [, count, unit = ''] of written.matchAll(/([\d.]+)(ms|[smhd])?/g)) {
        total += Number(count) * (millisecondsOf[unit] ?? 0)
      }
      if (total < min || total > longest) {
        return at.fail(
          `expected a duration ${total < min ? `of at least ${min}ms` : 'of at most 24d'}, got ${shown(raw)}`,
        )
      }
      return Math.round(total)
    },
  }
}

const bytesOf: Record<string, number> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 }

/** A size in bytes, written as nginx does: `0`, `8k`, `10m`, `1g`. */
export function size(fallback: number): Key<number> {
  return {
    fallback,
    read(raw, at) {
      const [, count, unit = ''] = /^(\d+)([kmg]?)$/i.exec(figure(raw)) ?? []
      const bytes = Number(count) * (bytesOf[unit.toLowerCase()] ?? 0)
      return Number.isSafeInteger(bytes) ? bytes : at.fail(`expected a size such as 8k, 10m or 1g, got ${shown(raw)}`)
    },
  }
}
