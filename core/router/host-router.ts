// Host, then path: the `radixtree_host_uri` router (facts core 2.4). Exact host, longest wildcard, then routes without host.
import { AffixTable, type Key } from './affix-table.ts'
import { PathIndex, type Target } from './path-index.ts'
import type { Asked, Found, Pattern, Router, Seen } from './router.ts'

/** The routes of one host pattern. */
interface Level {
  /** In lower case. */
  readonly host: string
  /** Their group in the index of paths. */
  readonly group: number
  /** How many patterns of paths there are. */
  paths: number
}

// Hosts that `visit` looks at though they do not fit: so many take 25 ms.
const MAX_OTHERS = 10_000

const ANY: Readonly<Level> = { host: '', group: 0, paths: 0 }

export class HostRouter<T extends Target> implements Router<T> {
  readonly #levels = new AffixTable<Level>({ separator: '.', backwards: true })
  readonly #paths = new PathIndex<T>()
  #groups = 0

  add({ uris, hosts, priority }: Pattern, value: T): void {
    for (const host of lower(hosts)) {
      const { group } = this.#entered(host, uris.length)
      for (const pattern of uris) this.#paths.add({ group, pattern, priority, value })
    }
  }

  remove({ uris, hosts, priority }: Pattern, value: T): void {
    for (const host of lower(hosts)) {
      const level = host === '' ? undefined : this.#levels.get(keyOf(host))
      const { group } = level ?? ANY
      const removed = uris.filter(pattern => this.#paths.remove({ group, pattern, priority, value }))
      if (level === undefined) continue
      level.paths -= removed.length
      if (level.paths === 0) this.#levels.delete(keyOf(host))
    }
  }

  /** Falls through from level to level. */
  find({ host, path }: Asked, accept: (value: T) => boolean): Found<T> | undefined {
    return this.#search(host, level => {
      const found = this.#paths.find(level.group, path, accept)
      return found && { value: found.value, uri: found.pattern, host: level.host }
    })
  }

  visit({ host, path }: Asked, see: (seen: Seen<T>) => void): void {
    const fitting = new Set<Readonly<Level>>()
    const look = (level: Readonly<Level>, wrongHost?: readonly string[]) =>
      this.#paths.visit(level.group, path, ({ value, pattern: uri, priority }) =>
        see({ value, uri, host: level.host, priority, wrongHost }),
      )
    this.#search(host, level => {
      fitting.add(level)
      look(level)
      return undefined
    })
    let others = 0
    for (const level of this.#levels.values()) {
      if (fitting.has(level)) continue
      if (++others > MAX_OTHERS) return
      look(level, [level.host])
    }
  }

  /** What `take` makes of the first level of a host for which it makes something. */
  #search<R>(host: string, take: (level: Readonly<Level>) => R | undefined): R | undefined {
    const search = (level: Readonly<Level>): R | undefined => {
      // `*.foo.com` is any depth below foo.com, so something must stand before the dot.
      if (level.host.length > host.length && level.host.startsWith('*.')) return undefined
      return take(level)
    }
    return (this.#levels.size === 0 ? undefined : this.#levels.find(0, host, search)) ?? take(ANY)
  }

  /** The level of a host, which has so many paths more from now on. */
  #entered(host: string, paths: number): Readonly<Level> {
    if (host === '') return ANY
    const key = keyOf(host)
    let level = this.#levels.get(key)
    if (level === undefined) {
      this.#groups++
      level = { host, group: this.#groups, paths: 0 }
      this.#levels.set(key, level)
    }
    level.paths += paths
    return level
  }
}

/** Each once; the empty one is any. */
function lower(hosts: readonly string[]): Iterable<string> {
  return hosts.length === 0 ? [''] : new Set(hosts.map(host => host.toLowerCase()))
}

function keyOf(host: string): Key {
  const wild = host.startsWith('*')
  return { group: 0, text: wild ? host.slice(1) : host, whole: !wild }
}
