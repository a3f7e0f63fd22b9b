// How long a hook may take to keep its promise; knows neither hooks nor requests.
import { GatewayError } from './errors.ts'

/** A promise of a plugin's was not kept. */
export class PluginTimeout extends GatewayError {
  constructor() {
    super(500, 'plugin_timeout', 'a plugin did not decide in time')
    this.name = 'PluginTimeout'
  }
}

/**
 * What `work` promises, or PluginTimeout after `ms` milliseconds; 0 is never. While `clientSends` it is the client that is
 * waited for, which has a clock of its own. `late` gets what comes after all.
 */
export function withinTime<T>(
  work: Promise<T>,
  ms: number,
  clientSends: () => boolean,
  late: (value: T) => void = () => {},
): Promise<T> {
  if (ms === 0) return work
  return new Promise((resolve, reject) => {
    let over = false
    const timer = setTimeout(() => {
      if (clientSends()) {
        timer.refresh()
        return
      }
      over = true
      reject(new PluginTimeout())
    }, ms)
    work.then(
      value => {
        clearTimeout(timer)
        if (over) late(value)
        else resolve(value)
      },
      (error: unknown) => {
        clearTimeout(timer)
        reject(error)
      },
    )
  })
}
