// Where a worker is: a few numbers in shared memory that it writes as it goes and main reads when it stands still.
import type { Step } from '../pipeline.ts'

const BEAT = 0
const PLUGIN = 1
const ROUTE = 2

/** The mark of a name: a 32-bit FNV-1a hash, so that writing one is a store and nothing has to be told beforehand. */
export function markOf(name: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193)
  return hash | 0
}

export function breadcrumbMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(3 * Int32Array.BYTES_PER_ELEMENT)
}

/** The worker's side. Plain stores: who reads them looks again a moment later. */
export class Breadcrumb {
  readonly #cells: Int32Array

  constructor(memory: SharedArrayBuffer) {
    this.#cells = new Int32Array(memory)
  }

  /** The worker gets on: its loop turns, or, within a turn that takes long, a request has come. */
  beat(): void {
    this.#cells[BEAT]!++
  }

  /** A hook of this step is about to run, for a request of this route: that too is a sign that the worker gets on. */
  at(step: Pick<Step<unknown>, 'mark'>, routeMark: number): void {
    this.beat()
    this.#cells[PLUGIN] = step.mark
    this.#cells[ROUTE] = routeMark
  }
}

/** Main's side. */
export class Footprint {
  readonly #cells: Int32Array

  constructor(memory: SharedArrayBuffer) {
    this.#cells = new Int32Array(memory)
  }

  /** Changes as long as the worker gets on. */
  get beat(): number {
    return Atomics.load(this.#cells, BEAT)
  }

  /** Which of `names` left the mark; undefined when none did. */
  plugin(names: Iterable<string>): string | undefined {
    return nameOf(this.#cells[PLUGIN]!, names)
  }

  route(ids: Iterable<string>): string | undefined {
    return nameOf(this.#cells[ROUTE]!, ids)
  }
}

function nameOf(mark: number, names: Iterable<string>): string | undefined {
  for (const name of names) if (markOf(name) === mark) return name
  return undefined
}
