// Path alone: the `radixtree_uri` routers (facts core 2.4). A host is one more condition of a route there.
import { PathTree, type Target } from './path-tree.ts'
import type { Asked, Found, Pattern, Router } from './router.ts'

interface Entry<T> extends Target {
  readonly value: T
  /** In lower case; undefined for any. */
  readonly hosts: readonly string[] | undefined
}

export class PathRouter<T extends Target> implements Router<T> {
  readonly #paths: PathTree<Entry<T>>
  readonly #entries = new Map<T, Entry<T>>()

  constructor(syntax: { parameters: boolean }) {
    this.#paths = new PathTree(syntax)
  }

  add({ uris, hosts, priority }: Pattern, value: T): void {
    const lower = hosts.length === 0 ? undefined : hosts.map(host => host.toLowerCase())
    const entry = { id: value.id, value, hosts: lower }
    this.#entries.set(value, entry)
    for (const uri of uris) this.#paths.add(uri, priority, entry)
  }

  remove({ uris, priority }: Pattern, value: T): void {
    const entry = this.#entries.get(value)
    if (entry === undefined) return
    this.#entries.delete(value)
    for (const uri of uris) this.#paths.remove(uri, priority, entry)
  }

  find(asked: Asked, accept: (value: T) => boolean): Found<T> | undefined {
    let host: string | undefined
    const candidate = this.#paths.find(asked.path, ({ value, hosts }) => {
      host = hosts === undefined ? '' : hosts.find(each => fits(each, asked))
      return host !== undefined && accept(value)
    })
    return candidate && { value: candidate.value.value, uri: candidate.pattern, host: host! }
  }
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
