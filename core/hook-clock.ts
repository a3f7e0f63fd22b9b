// How long a hook may take to keep its promise; knows neither hooks nor requests.
import { GatewayError } from './errors.ts'
import { type Listed, Roster } from './roster.ts'

/** A promise of a plugin's was not kept. */
export class PluginTimeout extends GatewayError {
  constructor() {
    super(500, 'plugin_timeout', 'a plugin did not decide in time')
    this.name = 'PluginTimeout'
  }
}

// A promise is given up this many beats after it was made, or one later.
const BEATS = 32

/**
 * One timer beats for all promises that are waited for: with a timer each, three for a request to an LLM, 2 us of its CPU
 * went into timers that never rang. While nobody waits nothing beats; a loop that stands still makes no promise late.
 */
export class HookClock {
  readonly #interval: number
  readonly #waits = new Roster<Wait>()
  #beats = 0
  #timer: NodeJS.Timeout | undefined

  /** `ms`: milliseconds that a promise may take, give or take a thirtieth; 0 is for ever. */
  constructor(ms: number) {
    this.#interval = ms / BEATS
  }

  /**
   * What `work` promises, or PluginTimeout when it is late. While `clientSends` it is the client that is waited for, which
   * has a clock of its own. `late` gets what comes after all.
   */
  within<T>(work: Promise<T>, clientSends: () => boolean, late: (value: T) => void = () => {}): Promise<T> {
    if (this.#interval === 0) return work
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    const wait: Wait = { place: -1, since: this.#beats, clientSends, giveUp: reject }
    const waits = this.#waits
    waits.add(wait)
    this.#timer ??= setTimeout(this.#beat, this.#interval)
    work.then(
      value => {
        if (waits.delete(wait)) resolve(value)
        else late(value)
      },
      (error: unknown) => {
        if (waits.delete(wait)) reject(error)
      },
    )
    return promise
  }

  readonly #beat = (): void => {
    this.#beats++
    for (const wait of this.#waits) {
      if (this.#beats - wait.since <= BEATS) continue
      if (wait.clientSends()) {
        wait.since = this.#beats
        continue
      }
      this.#waits.delete(wait)
      wait.giveUp(new PluginTimeout())
    }
    this.#timer = this.#waits.size === 0 ? undefined : setTimeout(this.#beat, this.#interval)
  }
}

interface Wait extends Listed {
  /** The beat at which it began. */
  since: number
  readonly clientSends: () => boolean
  readonly giveUp: (error: Error) => void
}
