// What finds routes by host and path: what each of APISIX's three routers (facts core 2.1) is asked, and answers.
import type { Target } from './path-index.ts'

/** What a route is matched by; conditions beyond host and path are the caller's. */
export interface Pattern {
  readonly uris: readonly string[]
  /** Empty: any host. */
  readonly hosts: readonly string[]
  readonly priority: number
}

/** What a request has that patterns speak of. */
export interface Asked {
  /** In lower case, without port. */
  readonly host: string
  /** Normalised. */
  readonly path: string
  readonly headers: { get(name: string): string | undefined }
}

export interface Found<T> {
  readonly value: T
  /** The patterns that matched; the host in lower case, and empty for a route without one. */
  readonly uri: string
  readonly host: string
}

/** A route whose path fits a request. */
export interface Seen<T> extends Found<T> {
  readonly priority: number
  /** Undefined when the host fits too. */
  readonly wrongHost: readonly string[] | undefined
}

export interface Router<T extends Target> {
  add(pattern: Pattern, value: T): void
  /** Takes back what `add` was given. */
  remove(pattern: Pattern, value: T): void
  /** The first in order of precedence that `accept` takes. */
  find(asked: Asked, accept: (value: T) => boolean): Found<T> | undefined
  /**
   * Shows every pattern of a path that fits: those whose host fits in order of precedence, then those of other hosts, as far
   * as ten thousand of these go. For explanations.
   */
  visit(asked: Asked, see: (seen: Seen<T>) => void): void
}
