// The probes of one upstream: who is due, how many at once, and what comes of it. Knows neither threads nor configuration.
import type { Logger } from '../../observe/log.ts'
import { cellName, type HealthCell, type Target, type Watch } from './board.ts'
import { probe } from './probe.ts'
import { reportSign } from './report.ts'
import { isUsable, type Sign } from './state.ts'

/** A cell that stays as long as somebody answers for it. */
export interface KeptCell extends HealthCell {
  keep(): void
  forget(): void
}

interface Probed {
  readonly target: Target
  readonly cell: KeptCell
  busy: boolean
}

export interface CheckerOptions {
  cell(name: string): KeptCell | undefined
  log: Logger
}

export class Checker {
  readonly #options: CheckerOptions
  #watch: Watch
  #probed = new Map<string, Probed>()
  readonly #timers: (NodeJS.Timeout | undefined)[]
  #running = 0
  #waiting: Probed[] = []

  /** Begins at once. */
  constructor(watch: Watch, options: CheckerOptions) {
    this.#options = options
    this.#watch = watch
    this.update(watch)
    const { healthy, unhealthy } = watch.checks
    this.#timers = [this.#every(healthy.intervalMs, true), this.#every(unhealthy.intervalMs, false)]
  }

  /** Other targets, with the same checks: those that were there before keep their health. */
  update(watch: Watch): void {
    this.#watch = watch
    const before = this.#probed
    this.#probed = new Map()
    for (const target of watch.targets) {
      const name = cellName(watch.key, target)
      const cell = before.get(name)?.cell ?? this.#options.cell(name)
      if (cell === undefined) {
        this.#options.log.warn({ upstream: watch.name, ip: target.ip }, 'too many targets: this one is not checked')
        continue
      }
      cell.keep()
      this.#probed.set(name, before.get(name) ?? { target, cell, busy: false })
    }
    for (const [name, { cell }] of before) if (!this.#probed.has(name)) cell.forget()
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer)
    this.#waiting = []
    for (const { cell } of this.#probed.values()) cell.forget()
    this.#probed.clear()
  }

  get watch(): Watch {
    return this.#watch
  }

  /** Every target with its state. */
  get targets(): { target: Target; state: number }[] {
    return [...this.#probed.values()].map(({ target, cell }) => ({ target, state: cell.state }))
  }

  /** Looks now and then at the targets that are usable, or at those that are not; never with an interval of 0. */
  #every(ms: number, usable: boolean): NodeJS.Timeout | undefined {
    if (ms === 0) return undefined
    this.#look(usable)
    return setInterval(() => this.#look(usable), ms)
  }

  /** Targets whose last look is still under way are passed over. */
  #look(usable: boolean): void {
    for (const each of this.#probed.values()) {
      if (each.busy || isUsable(each.cell.state) !== usable) continue
      each.busy = true
      this.#waiting.push(each)
    }
    while (this.#running < this.#watch.checks.concurrency && this.#waiting.length > 0) void this.#next()
  }

  async #next(): Promise<void> {
    this.#running++
    for (let each = this.#waiting.shift(); each !== undefined; each = this.#waiting.shift()) {
      const sign = await probe(each.target, this.#watch)
      each.busy = false
      if (sign !== undefined && this.#probed.has(cellName(this.#watch.key, each.target))) this.#observe(each, sign)
    }
    this.#running--
  }

  #observe({ target, cell }: Probed, sign: Sign): void {
    const { healthy, unhealthy } = this.#watch.checks
    const limit = sign === 'success' ? healthy.successes : unhealthy.limits[sign]
    reportSign(this.#options.log, target, { sign, limit, ...cell.observe(sign, limit) })
  }
}
