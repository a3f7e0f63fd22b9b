// Follows a source: everything there is, then what changes, and from the start again when something was missed; keeps nothing.
import { setTimeout as sleep } from 'node:timers/promises'
import { asError } from '../errors.ts'
import type { Change, ConfigSource, Item } from './store.ts'

export interface Follower {
  /** Everything there is; what was known before is not so any more. Changes wait until it resolves. */
  listed(items: readonly Item[]): Promise<void> | void
  changed(changes: readonly Change[]): void
  /** It could not be listed, and is tried again. */
  failed(error: Error): void
}

// How long after a list that failed another is tried.
const RETRY_MS = 1_000

/** Until the function that it returns is called. */
export function follow(source: ConfigSource, follower: Follower): () => void {
  const closed = new AbortController()
  let unwatch: (() => void) | undefined
  const run = async (): Promise<void> => {
    while (!closed.signal.aborted) {
      try {
        const { items, revision } = await source.list()
        if (closed.signal.aborted) return
        await follower.listed(items)
        if (closed.signal.aborted) return
        unwatch = source.watch(
          revision,
          changes => follower.changed(changes),
          () => void run(),
        )
        return
      } catch (error) {
        follower.failed(asError(error))
        await sleep(RETRY_MS, undefined, { signal: closed.signal, ref: false }).catch(() => {})
      }
    }
  }
  void run()
  return () => {
    closed.abort()
    unwatch?.()
  }
}
