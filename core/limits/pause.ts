// A request that waits for its turn; knows not what for.
import type { Context } from '../context.ts'

/** Resolves after so many milliseconds, or when the request is given up. */
export function pause(ctx: Context, ms: number): Promise<undefined> {
  return new Promise(resolve => {
    const over = () => {
      clearTimeout(timer)
      ctx.offAbort(over)
      resolve(undefined)
    }
    const timer = setTimeout(over, ms)
    ctx.onAbort(over)
  })
}
