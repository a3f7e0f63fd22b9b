// Connections and requests as nginx counts them, under APISIX's names (facts core 8.3.13); knows neither sockets nor requests.
import type { CounterSeries, GaugeSeries, Metrics } from './metrics.ts'

export class Traffic {
  readonly #accepted: CounterSeries
  readonly #handled: CounterSeries
  readonly #requests: readonly CounterSeries[]
  readonly #active: GaugeSeries
  readonly #writing: GaugeSeries
  readonly #waiting: GaugeSeries
  #open = 0

  constructor(metrics: Metrics) {
    const family = ['nginx_http_current_connections', 'Connections of clients, by what they are at', ['state']] as const
    const counted = metrics.counter(...family, 'gauge')
    const measured = metrics.gauge(...family)
    const requests = metrics.counter('http_requests_total', 'Requests of clients, refused ones too', [], 'gauge')
    this.#accepted = counted.of(['accepted'])
    this.#handled = counted.of(['handled'])
    this.#requests = [requests.of([]), counted.of(['total'])]
    this.#active = measured.of(['active'])
    this.#writing = measured.of(['writing'])
    this.#waiting = measured.of(['waiting'])
    // node:http gives a request over when its head is whole: until then its connection waits.
    measured.of(['reading']).set(0)
    for (const series of [this.#accepted, this.#handled, ...this.#requests]) series.add(0)
    this.show(0)
  }

  /** Connections there are. */
  get open(): number {
    return this.#open
  }

  /** A connection was accepted; `handled` unless there are too many. */
  opened(handled: boolean): void {
    this.#open++
    this.#accepted.add()
    if (handled) this.#handled.add()
  }

  closed(): void {
    this.#open--
  }

  /** A request has come, or what was to be one. */
  request(): void {
    for (const series of this.#requests) series.add()
  }

  /** Shows how many connections there are now, `inFlight` of them with a request. */
  show(inFlight: number): void {
    // Pipelined requests share one.
    const writing = Math.min(inFlight, this.#open)
    this.#active.set(this.#open)
    this.#writing.set(writing)
    this.#waiting.set(this.#open - writing)
  }
}
