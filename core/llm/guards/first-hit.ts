// Asks about the parts of a text at the same time, until one of them is found to be bad; knows no service and no text.
import { asError } from '../../errors.ts'
import type { Wisher } from '../sidecar.ts'
import { Asking } from './asking.ts'

/** How many questions of one request are under way at once: services limit how many they take of one account. */
const AT_ONCE = 8

/**
 * The first hit, whichever part it is in; undefined when there is none in any. Rejects with the first error. After either
 * nothing more is asked, and what is under way is given up, as it is when the client leaves.
 */
export async function firstHit<T, R>(
  wisher: Wisher,
  parts: Iterable<T>,
  ask: (part: T, wisher: Wisher) => Promise<R | undefined>,
): Promise<R | undefined> {
  const asking = new Asking(wisher)
  const { promise: ended, resolve, reject } = Promise.withResolvers<R | undefined>()
  const waiting = parts[Symbol.iterator]()
  const work = async () => {
    for (let next = waiting.next(); !next.done && asking.aborted === undefined; next = waiting.next()) {
      const hit = await ask(next.value, asking)
      if (hit !== undefined) resolve(hit)
      if (hit !== undefined) asking.stop(new Error('a part is known to be bad'))
    }
  }
  try {
    const all = Array.from({ length: AT_ONCE }, () =>
      work().catch((thrown: unknown) => {
        reject(asError(thrown))
        asking.stop(asError(thrown))
      }),
    )
    void Promise.all(all).then(() => (asking.aborted === undefined ? resolve(undefined) : reject(asking.aborted)))
    return await ended
  } finally {
    asking.end()
  }
}
