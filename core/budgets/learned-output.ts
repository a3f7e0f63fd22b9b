// How long answers have been: a high quantile of each key's real outputs, in bounded memory; knows neither keys nor tokens.

/** Each is a quarter of an octave above the one before: an estimate is at most 19 % above the quantile itself. */
const BUCKETS = 96
const PER_OCTAVE = 4
/** Then the old ones count half: what has changed is learned anew within about as many answers. */
const REMEMBERED = 256

export interface LearnedOutputOptions {
  /** The share of answers that were no longer: between 0 and 1. */
  readonly quantile: number
  /** Answers after which a key is known. */
  readonly after: number
  /** Keys of which it remembers something; the one that was used longest ago is forgotten. */
  readonly keys: number
}

interface Seen {
  readonly counts: Float32Array
  total: number
  ever: number
}

export class LearnedOutput {
  readonly #options: LearnedOutputOptions
  readonly #seen = new Map<string, Seen>()

  constructor(options: LearnedOutputOptions) {
    this.#options = options
  }

  observe(key: string, output: number): void {
    const seen = this.#seen.get(key) ?? { counts: new Float32Array(BUCKETS), total: 0, ever: 0 }
    this.#seen.delete(key)
    this.#seen.set(key, seen)
    if (this.#seen.size > this.#options.keys) this.#seen.delete(this.#seen.keys().next().value!)
    seen.counts[Math.min(BUCKETS - 1, Math.ceil(PER_OCTAVE * Math.log2(1 + output)))]!++
    seen.ever++
    if (++seen.total < REMEMBERED) return
    for (const [at, count] of seen.counts.entries()) seen.counts[at] = count / 2
    seen.total /= 2
  }

  /** No less than the quantile; undefined for a key that is not known yet. */
  expected(key: string): number | undefined {
    const seen = this.#seen.get(key)
    if (seen === undefined || seen.ever < this.#options.after) return undefined
    let below = 0
    for (const [at, count] of seen.counts.entries()) {
      below += count
      if (below >= this.#options.quantile * seen.total) return Math.ceil(2 ** (at / PER_OCTAVE) - 1)
    }
    return undefined
  }
}
