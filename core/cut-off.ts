// Runs what may not come back, such as a regular expression, for a tenth of a second at most; knows none.
import { createContext, Script } from 'node:vm'
import { GatewayError } from './errors.ts'

/** Milliseconds. What ends by itself ends sooner. */
const MAX_MS = 100

const run = new Script('run()')

/**
 * The same function; it throws GatewayError 500 `pattern_timeout` when it takes too long. V8 looks up between two steps of a
 * regular expression; that it can be stopped costs 0.2 ms, stopped or not.
 */
export function cutOff<A, R>(work: (given: A) => R): (given: A) => R {
  let job: (() => void) | undefined
  // Made once: a context takes a millisecond.
  const context = createContext({ run: () => job?.() })
  return given => {
    let done: { result: R } | undefined
    job = () => {
      done = { result: work(given) }
    }
    try {
      run.runInContext(context, { timeout: MAX_MS })
      return done!.result
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error
      throw new GatewayError(500, 'pattern_timeout', 'a pattern of the configuration took too long')
    } finally {
      job = undefined
    }
  }
}
