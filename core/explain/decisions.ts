// The decision records of a worker: the last requests, and the last failures for longer, in two rings; knows no gateway.
import type { Context } from '../context.ts'
import { exchange } from '../llm/exchange.ts'
import { markOf } from '../workers/breadcrumb.ts'
import { type Decision, isFailure, putDecision, readDecision } from './decision.ts'
import { MAX_RECORD, RecordReader, RecordWriter } from './record.ts'
import { RecordRing } from './record-ring.ts'
import { Trail } from './trail.ts'

// Trails that wait for a request; more are left to the garbage collector.
const MAX_SPARE = 256

export class Decisions {
  readonly #requests: RecordRing | undefined
  readonly #failures: RecordRing | undefined
  readonly #names: () => Iterable<string>
  readonly #spare: Trail[] = []

  /** `bytes` for both rings together, 0 for none; `names` are those of plugins. */
  constructor(bytes: number, names: () => Iterable<string>) {
    this.#names = names
    if (bytes === 0) return
    this.#requests = new RecordRing(bytes >> 1)
    this.#failures = new RecordRing(bytes >> 1)
  }

  /** The trail of a request that begins; undefined where nothing is kept, unless it is `wanted` all the same. */
  begin(wanted = false): Trail | undefined {
    if (this.#requests === undefined && !wanted) return undefined
    return this.#spare.pop() ?? new Trail()
  }

  /** The request has logged: what is to be kept of it is, and nothing of it is held on to. */
  keep(ctx: Context): void {
    const { trail } = ctx
    if (trail === undefined) return
    const ring = isFailure(ctx, exchange.get(ctx)) ? this.#failures : this.#requests
    ring?.add(ctx, putDecision)
    ctx.trail = undefined
    trail.clear()
    if (this.#spare.length < MAX_SPARE) this.#spare.push(trail)
  }

  /** What is kept of the last request with that id; undefined when nothing is. */
  find(id: string): Decision | undefined {
    const wanted = Buffer.from(id)
    let found: Decision | undefined
    for (const ring of [this.#requests, this.#failures]) {
      const reader = ring?.last(wanted)
      if (reader === undefined) continue
      const decision = readDecision(reader, this.#plugin())
      if (found === undefined || found.time < decision.time) found = decision
    }
    return found
  }

  /** A request as it is now. */
  describe(ctx: Context): Decision {
    const bytes = Buffer.alloc(MAX_RECORD)
    const writer = new RecordWriter(bytes)
    writer.begin(0)
    putDecision(writer, ctx)
    return readDecision(new RecordReader(bytes, 0), this.#plugin())
  }

  #plugin(): (mark: number) => string {
    const names = new Map<number, string>()
    for (const name of this.#names()) names.set(markOf(name), name)
    return mark => names.get(mark) ?? `#${mark.toString(16)}`
  }
}
