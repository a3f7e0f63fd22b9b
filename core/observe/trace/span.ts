// What a span is, and where its numbers come from; knows neither requests nor collectors.
import { randomFillSync } from 'node:crypto'

/** A number that is no count is `{ double }`: 1.0 is a second, not one. */
export type AttributeValue = string | number | boolean | { readonly double: number } | readonly string[]

/** In the order in which they are shown; undefined ones are not. */
export type Attributes = readonly (readonly [key: string, value: AttributeValue | undefined])[]

export interface Span {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string | undefined
  readonly traceState?: string | undefined
  readonly name: string
  readonly kind: 'internal' | 'server' | 'client'
  /** Milliseconds since the epoch, with fractions. */
  readonly start: number
  readonly end: number
  readonly attributes: Attributes
  /** What it has failed is called is `error.type`. */
  readonly failed: boolean
}

// For some hundred ids at once: a call for each costs twenty times as much.
const DRAWN_BYTES = 4_096

/** Ids of traces and spans: hexadecimal digits that nobody can foresee. */
export class SpanIds {
  readonly #fill: (bytes: Buffer) => void
  readonly #drawn = Buffer.allocUnsafeSlow(DRAWN_BYTES)
  #at = DRAWN_BYTES

  constructor(fill: (bytes: Buffer) => void = randomFillSync) {
    this.#fill = fill
  }

  trace(): string {
    return this.#next(16)
  }

  span(): string {
    return this.#next(8)
  }

  #next(bytes: number): string {
    if (this.#at + bytes > DRAWN_BYTES) {
      this.#fill(this.#drawn)
      this.#at = 0
    }
    const id = this.#drawn.toString('hex', this.#at, this.#at + bytes)
    this.#at += bytes
    return id
  }
}
