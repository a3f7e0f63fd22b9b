// What one request went through, as numbers in the order they came: whose hook began, when, how it decided; knows no text.

/** What a step is: a hook by its phase, or what the gateway does between them. */
export const STEPS = [
  'rewrite',
  'access',
  'before_proxy',
  'event_filter',
  'header_filter',
  'body_filter',
  'log',
  /** Whoever answers is asked, */
  'upstream',
  /** has answered, */
  'answer',
  /** and the head of the response goes out. */
  'head',
] as const

export type StepName = (typeof STEPS)[number]

/** The step as trails have it. */
export function stepCode(name: StepName): number {
  return STEPS.indexOf(name)
}

/** What became of a step. `skipped` is by `_meta.filter`. */
export const VERDICTS = ['passed', 'answered', 'failed', 'skipped'] as const

export type Verdict = (typeof VERDICTS)[number]

const VERDICT_CODES: Readonly<Record<Verdict, number>> = { passed: 0, answered: 1, failed: 2, skipped: 3 }

const MAX_STEPS = 64
const CELLS = 3

/**
 * Of one request, and then of another: a step is three numbers and a look at the clock, and nothing is allocated. A step is
 * over when the next begins.
 */
export class Trail {
  // Step, verdict above it; the mark of the plugin (workers/breadcrumb.ts); milliseconds on the monotonic clock.
  readonly #cells = new Float64Array(MAX_STEPS * CELLS)
  #size = 0
  #isCut = false

  get size(): number {
    return this.#size
  }

  /** Whether there were more steps than there is room for. */
  get isCut(): boolean {
    return this.#isCut
  }

  /** A step begins: `code` is a `stepCode`, `mark` the plugin's if it is a hook. */
  enter(code: number, mark = 0): void {
    if (this.#size === MAX_STEPS) {
      this.#isCut = true
      return
    }
    const at = this.#size++ * CELLS
    this.#cells[at] = code
    this.#cells[at + 1] = mark
    this.#cells[at + 2] = performance.now()
  }

  /** The step that began last ended so. */
  end(verdict: Verdict): void {
    if (this.#size > 0 && !this.#isCut) this.#decide(this.#size - 1, verdict)
  }

  /** The hook of that plugin and phase failed, though others may have begun since. */
  failed(code: number, mark: number): void {
    for (let step = this.#size - 1; step >= 0; step--) {
      if (this.code(step) !== code || this.mark(step) !== mark) continue
      this.#decide(step, 'failed')
      return
    }
  }

  /** The code of the step that began last. */
  get last(): number | undefined {
    return this.#size === 0 ? undefined : this.code(this.#size - 1)
  }

  code(step: number): number {
    return this.#cells[step * CELLS]! & 15
  }

  verdict(step: number): number {
    return this.#cells[step * CELLS]! >> 4
  }

  mark(step: number): number {
    return this.#cells[step * CELLS + 1]!
  }

  /** When it began, as `performance.now()`. */
  tick(step: number): number {
    return this.#cells[step * CELLS + 2]!
  }

  clear(): void {
    this.#size = 0
    this.#isCut = false
  }

  #decide(step: number, verdict: Verdict): void {
    this.#cells[step * CELLS] = this.code(step) | (VERDICT_CODES[verdict] << 4)
  }
}
