// Host, then path: the `radixtree_host_uri` router (facts core 2.4). Exact host, longest wildcard, then routes without host.
import { PathTree } from './path-tree.ts'

/** What a route is matched by; conditions beyond host and path are the caller's. */
export interface Pattern {
  uris: readonly string[]
  /** Empty: any host. */
  hosts: readonly string[]
  priority: number
}

export interface Found<T> {
  value: T
  /** The patterns that matched, as configured; the host is empty for a route without one. */
  uri: string
  host: string
}

interface Level<T> {
  pattern: string
  tree: PathTree<T>
}

export class HostRouter<T> {
  readonly #exact = new Map<string, Level<T>>()
  /** By what must stand at the end of the host. */
  readonly #suffixes = new Map<string, Level<T>>()
  #longestSuffix = 0
  readonly #any: Level<T> = { pattern: '', tree: new PathTree() }

  add(pattern: Pattern, value: T): void {
    for (const level of pattern.hosts.length === 0 ? [this.#any] : pattern.hosts.map(host => this.#level(host))) {
      for (const uri of pattern.uris) level.tree.add(uri, pattern.priority, value)
    }
  }

  /** The route for a lower-case host without port and a normalised path; falls through from level to level. */
  find(host: string, path: string, accept: (value: T) => boolean): Found<T> | undefined {
    const exact = this.#exact.get(host)
    const found = exact && search(exact, path, accept)
    if (found !== undefined) return found
    if (this.#suffixes.size > 0) {
      // No further left than any suffix reaches: a host may be as long as a request head.
      for (let at = Math.max(0, host.length - this.#longestSuffix); at <= host.length; at++) {
        const level = this.#suffixes.get(host.slice(at))
        // `*.foo.com` is any depth below foo.com, so something must stand before the dot.
        if (level === undefined || (at === 0 && host.startsWith('.'))) continue
        const below = search(level, path, accept)
        if (below !== undefined) return below
      }
    }
    return search(this.#any, path, accept)
  }

  #level(host: string): Level<T> {
    const lower = host.toLowerCase()
    const [levels, key] = lower.startsWith('*') ? [this.#suffixes, lower.slice(1)] : [this.#exact, lower]
    if (levels === this.#suffixes) this.#longestSuffix = Math.max(this.#longestSuffix, key.length)
    const level = levels.get(key) ?? { pattern: host, tree: new PathTree<T>() }
    levels.set(key, level)
    return level
  }
}

function search<T>(level: Level<T>, path: string, accept: (value: T) => boolean): Found<T> | undefined {
  const candidate = level.tree.find(path, accept)
  return candidate && { value: candidate.value, uri: candidate.pattern, host: level.pattern }
}
