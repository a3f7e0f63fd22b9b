// Interleaved slices: every round asks every contender once, so that what else the machine does falls on all alike.
import { type Contender, DIRECT, FLOOR } from './contender.ts'
import { cpuNanos } from './process-cost.ts'
import { median, type Spread, spread } from './statistics.ts'

type Measured<R> = (contender: Contender) => Promise<R>

interface Slice<R> {
  readonly result: R
  /** Microseconds of the contender's process tree; undefined when nobody can know. */
  readonly cpu: number | undefined
}

/** Slices by the contender's name. */
type Round<R> = ReadonlyMap<string, Slice<R>>

/** What a piece of work costs, in microseconds. */
export interface Cost {
  /** The median over the starts of each one's quietest fifth. */
  readonly quiet: number
  /** Of all slices. */
  readonly spread: Spread
  /** Times the floor that was started together with it: of the quietest fifths. The median, and each start's. */
  readonly timesFloor: number
  readonly timesFloorByStart: readonly number[]
}

/** A latency in microseconds, median over the slices, and the median of how much more it was than the direct call's. */
export interface Latency {
  readonly total: number
  readonly added: number
}

// Logs are written and garbage is collected when the last answer is out.
const AFTERWORK_MS = 20

/**
 * All rounds of one kind. They come in groups, one for every time that the contenders were started: what V8 makes of a
 * program differs by a tenth and more from one process to the next, which no number of slices of one process would show.
 */
export class Rounds<R> {
  readonly #starts: Round<R>[][] = []

  /**
   * Runs and keeps the rounds of one start, each in another order, so that nobody always comes after the same neighbour.
   * What `prepare` does before a slice is not measured.
   */
  async run(
    contenders: readonly Contender[],
    count: number,
    { prepare, slice }: { prepare?: (contender: Contender) => Promise<unknown>; slice: Measured<R> },
  ): Promise<void> {
    const rounds: Round<R>[] = []
    for (let round = 0; round < count; round++) {
      const slices = new Map<string, Slice<R>>()
      const first = round % contenders.length
      for (const contender of [...contenders.slice(first), ...contenders.slice(0, first)]) {
        await prepare?.(contender)
        slices.set(contender.name, await measured(contender, slice))
      }
      rounds.push(slices)
    }
    this.#starts.push(rounds)
  }

  /** Of everybody that was asked, in the order of the first round. */
  get names(): string[] {
    return [...this.#starts[0]![0]!.keys()]
  }

  median(name: string, measure: (result: R) => number): number {
    return median(this.all(name, measure))
  }

  latency(name: string, measure: (result: R) => number): Latency {
    const direct = this.all(DIRECT, measure)
    const own = this.all(name, measure)
    return { total: median(own), added: median(own.map((value, round) => value - direct[round]!)) }
  }

  /** Of every round, in order. */
  all(name: string, measure: (result: R) => number): number[] {
    return this.#starts.flat().map(round => measure(round.get(name)!.result))
  }

  /** CPU per unit of work; undefined for whom it is not known. */
  cost(name: string, units: (result: R) => number): Cost | undefined {
    const own = this.#cpu(name, units)
    const floor = this.#cpu(FLOOR, units)
    if (own === undefined || floor === undefined) return undefined
    const quiet = own.map(start => spread(start).quiet)
    const timesFloor = quiet.map((micros, start) => micros / spread(floor[start]!).quiet)
    return {
      quiet: median(quiet),
      spread: spread(own.flat()),
      timesFloor: median(timesFloor),
      timesFloorByStart: timesFloor,
    }
  }

  /** By start and round. */
  #cpu(name: string, units: (result: R) => number): number[][] | undefined {
    const slices = this.#starts.map(rounds => rounds.map(round => round.get(name)!))
    if (slices.flat().some(({ cpu }) => cpu === undefined)) return undefined
    return slices.map(start => start.map(({ cpu, result }) => cpu! / units(result)))
  }
}

async function measured<R>(contender: Contender, slice: Measured<R>): Promise<Slice<R>> {
  const { pid } = contender
  const before = pid === undefined ? undefined : cpuNanos(pid)
  const result = await slice(contender)
  if (before === undefined) return { result, cpu: undefined }
  await new Promise(resolve => setTimeout(resolve, AFTERWORK_MS))
  const after = cpuNanos(pid!)
  return { result, cpu: after === undefined ? undefined : (after - before) / 1e3 }
}
