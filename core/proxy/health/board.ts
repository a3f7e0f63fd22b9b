// Where the health of targets stands and who asks for probes, as upstreams see it; knows neither threads nor probes.
import type { ActiveChecks, HealthChecks } from './checks.ts'
import type { Sign } from './state.ts'

/** What is probed: an address, and what it is told. */
export interface Target {
  readonly ip: string
  readonly port: number
  /** For humans: the name of the node, or of `checks.active.host`. */
  readonly hostname: string
  /** The Host field of probes. */
  readonly hostHeader: string
}

/** An upstream's wish to have its targets probed: plain data. */
export interface Watch {
  /** Who asks, with what checks: the same key in several threads is one and the same. */
  readonly key: string
  /** `/apisix/upstreams/1` */
  readonly name: string
  readonly checks: ActiveChecks
  readonly targets: readonly Target[]
  /** https: what the probe shows when it is asked who it is. */
  readonly clientCert: { readonly cert: string; readonly key: string } | undefined
}

/** The health of one target, shared by whoever looks at it and whoever observes it. */
export interface HealthCell {
  /** See state.ts. */
  readonly state: number
  /** Milliseconds since it came back from being unusable; Infinity when it never did. */
  readonly recoveredMs: number
  /** Counts what was observed. Returns the state from before and after it. */
  observe(sign: Sign, limit: number): { before: number; after: number }
}

export interface HealthBoard {
  /** Changes whenever some target has become usable or unusable. */
  readonly changes: number
  /** The health of the target of that name; undefined when there are too many. */
  cell(name: string): HealthCell | undefined
  /** Has targets probed, in the place of what the same key asked for before. What is returned ends it. */
  watch(watch: Watch): () => void
  /** Whether somebody of this thread has asked for probes by that key. */
  watched(key: string): boolean
}

/** The name of a target's cell: other checks of the same target are about something else. */
export function cellName(key: string, { ip, port, hostname }: Target): string {
  return `${key} ${ip} ${port} ${hostname}`
}

/** The key of an upstream's checks. */
export function watchKey(name: string, checks: HealthChecks): string {
  return `${name} ${JSON.stringify(checks)}`
}
