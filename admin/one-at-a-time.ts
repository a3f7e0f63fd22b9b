// Tasks that run one after the other; knows nothing of what they do.
import { refuse } from './answer.ts'

/** Each waiting task may hold a whole request body. */
const longestQueue = 1_000

/** Returns what runs tasks in the order they come. A task that fails does not stop the next. Refuses with 503 when full. */
export function oneAtATime(): <T>(task: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve()
  let waiting = 0
  return async task => {
    if (waiting === longestQueue) throw refuse(503, 'too many changes are waiting, try again')
    waiting++
    const turn = last.then(task)
    last = turn.then(
      () => {},
      () => {},
    )
    try {
      return await turn
    } finally {
      waiting--
    }
  }
}
