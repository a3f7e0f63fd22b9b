// Host, then path: the `radixtree_host_uri` router (facts core 2.4). Exact host, longest wildcard, then routes without host.
import { PathTree, type Target } from './path-tree.ts'
import { PrefixTree } from './prefix-tree.ts'
import type { Asked, Found, Pattern, Router } from './router.ts'

interface Level<T extends Target> {
  readonly host: string
  readonly paths: PathTree<T>
}

export class HostRouter<T extends Target> implements Router<T> {
  readonly #exact = new Map<string, Level<T>>()
  /** By what must stand at the end of the host. */
  readonly #suffixes = new PrefixTree<Level<T>>({ backwards: true })
  readonly #any: Level<T> = { host: '', paths: new PathTree() }

  add(pattern: Pattern, value: T): void {
    for (const host of hostsOf(pattern)) {
      const { paths } = this.#level(host)
      for (const uri of pattern.uris) paths.add(uri, pattern.priority, value)
    }
  }

  remove(pattern: Pattern, value: T): void {
    for (const host of hostsOf(pattern)) {
      const { paths } = this.#level(host)
      for (const uri of pattern.uris) paths.remove(uri, pattern.priority, value)
      if (host !== '' && paths.empty) this.#levels(host).delete(keyOf(host))
    }
  }

  /** Falls through from level to level. */
  find({ host, path }: Asked, accept: (value: T) => boolean): Found<T> | undefined {
    const exact = this.#exact.get(host)
    const found = exact && search(exact, path, accept)
    if (found !== undefined) return found
    if (!this.#suffixes.empty) {
      const levels = this.#suffixes.along(host)
      for (let deep = levels.length - 1; deep >= 0; deep--) {
        const level = levels[deep]!
        // `*.foo.com` is any depth below foo.com, so something must stand before the dot.
        if (level.host.length > host.length && level.host[1] === '.') continue
        const below = search(level, path, accept)
        if (below !== undefined) return below
      }
    }
    return search(this.#any, path, accept)
  }

  #level(host: string): Level<T> {
    if (host === '') return this.#any
    const levels = this.#levels(host)
    const key = keyOf(host)
    const level = levels.get(key) ?? { host, paths: new PathTree<T>() }
    levels.set(key, level)
    return level
  }

  #levels(host: string): Map<string, Level<T>> | PrefixTree<Level<T>> {
    return host.startsWith('*') ? this.#suffixes : this.#exact
  }
}

/** In lower case, each once; the empty one is any. */
function hostsOf({ hosts }: Pattern): Iterable<string> {
  return hosts.length === 0 ? [''] : new Set(hosts.map(host => host.toLowerCase()))
}

function keyOf(host: string): string {
  return host.startsWith('*') ? host.slice(1) : host
}

function search<T extends Target>(
  { host, paths }: Level<T>,
  path: string,
  accept: (value: T) => boolean,
): Found<T> | undefined {
  const candidate = paths.find(path, accept)
  return candidate && { value: candidate.value, uri: candidate.pattern, host }
}
