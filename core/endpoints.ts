// What plugins answer themselves, found by method and path; knows no route.
import type { Endpoint, Plugin } from './plugin.ts'

/** By `endpointKey`. */
export type Endpoints = ReadonlyMap<string, Endpoint>

export function endpointKey(method: string, path: string): string {
  return `${method} ${path}`
}

/** Those of all `plugins`, and `more`; of two with the same method and path the first. */
export function endpointsOf(plugins: Iterable<Plugin>, more: readonly Endpoint[] = []): Endpoints {
  const found = new Map<string, Endpoint>()
  for (const { endpoints = [] } of [...plugins, { endpoints: more }]) {
    for (const endpoint of endpoints) {
      for (const method of endpoint.methods) {
        const key = endpointKey(method, endpoint.path)
        if (!found.has(key)) found.set(key, endpoint)
      }
    }
  }
  return found
}
