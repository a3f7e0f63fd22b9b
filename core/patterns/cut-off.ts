// Runs what may not come back, such as a regular expression, for a tenth of a second at most; knows none.
import { createContext, Script } from 'node:vm'
import { GatewayError } from '../errors.ts'

/** Milliseconds. What ends by itself ends sooner. */
const MAX_MS = 100
/** What has been waiting for a core for most of them is tried again, so often. */
const MAX_TRIES = 10

const run = new Script('run()')

/**
 * The same function, of which nobody minds that it is called again; it throws GatewayError 500 `pattern_timeout` when it takes
 * too long. V8 looks up between two steps of a regular expression; that it can be stopped costs 0.2 ms, stopped or not.
 */
export function cutOff<A, R>(work: (given: A) => R): (given: A) => R {
  let job: (() => void) | undefined
  // Made once: a context takes a millisecond.
  const context = createContext({ run: () => job?.() })

  /** Whether it has come to its end. */
  function ends(): boolean {
    try {
      run.runInContext(context, { timeout: MAX_MS })
      return true
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error
      return false
    }
  }

  return given => {
    let done: { result: R } | undefined
    job = () => {
      done = { result: work(given) }
    }
    const begun = process.threadCpuUsage()
    try {
      for (let tries = 0; tries < MAX_TRIES; tries++) {
        if (ends()) return done!.result
        const { user, system } = process.threadCpuUsage(begun)
        if (user + system > (MAX_MS * 1000) / 2) break
      }
    } finally {
      job = undefined
    }
    throw new GatewayError(500, 'pattern_timeout', 'a pattern of the configuration took too long')
  }
}
