// Path alone: the `radixtree_uri` routers (facts core 2.4). A host is one more condition of a route there.
import { PathIndex, type Target } from './path-index.ts'
import type { Asked, Found, Pattern, Router, Seen } from './router.ts'

interface Entry<T> extends Target {
  readonly value: T
  /** In lower case; undefined for any. */
  readonly hosts: readonly string[] | undefined
}

export class PathRouter<T extends Target> implements Router<T> {
  readonly #paths: PathIndex<Entry<T>>
  readonly #entries = new Map<T, Entry<T>>()

  constructor(syntax: { parameters: boolean }) {
    this.#paths = new PathIndex(syntax)
  }

  add({ uris, hosts, priority }: Pattern, value: T): void {
    const lower = hosts.length === 0 ? undefined : hosts.map(host => host.toLowerCase())
    const entry = { id: value.id, value, hosts: lower }
    this.#entries.set(value, entry)
    for (const pattern of uris) this.#paths.add({ group: 0, pattern, priority, value: entry })
  }

  remove({ uris, priority }: Pattern, value: T): void {
    const entry = this.#entries.get(value)
    if (entry === undefined) return
    this.#entries.delete(value)
    for (const pattern of uris) this.#paths.remove({ group: 0, pattern, priority, value: entry })
  }

  find(asked: Asked, accept: (value: T) => boolean): Found<T> | undefined {
    let host: string | undefined
    const candidate = this.#paths.find(0, asked.path, ({ value, hosts }) => {
      host = fittingHost(hosts, asked)
      return host !== undefined && accept(value)
    })
    return candidate && { value: candidate.value.value, uri: candidate.pattern, host: host! }
  }

  visit(asked: Asked, see: (seen: Seen<T>) => void): void {
    this.#paths.visit(0, asked.path, ({ value: { value, hosts }, pattern: uri, priority }) => {
      const host = fittingHost(hosts, asked)
      see({ value, uri, host: host ?? '', priority, wrongHost: host === undefined ? hosts : undefined })
    })
  }
}

/** The first host that fits, empty for any; undefined when none does. */
function fittingHost(hosts: readonly string[] | undefined, asked: Asked): string | undefined {
  return hosts === undefined ? '' : hosts.find(each => fits(each, asked))
}

/** Only here a port counts: it is looked for in the Host as it came (facts core 2.3). */
function fits(pattern: string, { host, headers }: Asked): boolean {
  if (pattern === '*') return true
  if (!pattern.startsWith('*')) {
    return pattern === host || (pattern.includes(':') && pattern === headers.get('host')?.toLowerCase())
  }
  // `*.foo.com` is any depth below foo.com, so something must stand before the dot.
  return host.endsWith(pattern.slice(1)) && (pattern[1] !== '.' || host.length >= pattern.length)
}
