// The replies of a watch stream put together to whole writes; knows no connection and no time.
import type { IEvent, IWatchResponse } from 'etcd3'
import type { Change, Revision } from '../store.ts'
import { isStranger, type Layout } from './layout.ts'
import type { Strangers } from './strangers.ts'

/** What came after a revision cannot be had: list again. */
export class Lost extends Error {
  /** Because this is another history: what was known of the old one says nothing. */
  readonly replaced: boolean

  constructor(message: string, { replaced }: { replaced: boolean }) {
    super(message)
    this.replaced = replaced
  }
}

/**
 * The writes of one stream. Fragments may divide a write: its changes wait for the rest, and for nothing else, so that no
 * more than one write is kept.
 */
export class Assembly {
  readonly #layout: Layout
  readonly #strangers: Strangers
  #since: Revision
  #waiting: IEvent[] = []

  /** Events up to `since` are known. */
  constructor(since: Revision, layout: Layout, strangers: Strangers) {
    this.#since = since
    this.#layout = layout
    this.#strangers = strangers
  }

  /**
   * The writes that this reply completes, in order; some change nothing that is a resource. Throws Lost when the watch was
   * ended by compaction, and Error with etcd's reason when it was ended otherwise.
   */
  take(reply: IWatchResponse): { revision: Revision; changes: readonly Change[] }[] {
    if (Number(reply.compact_revision) > 0) {
      // The reason is empty on some versions (defect 2).
      const at = `${this.#since} has been lost to compaction at ${reply.compact_revision}`
      throw new Lost(`revision ${at}`, { replaced: false })
    }
    if (reply.canceled) throw new Error(reply.cancel_reason || 'etcd has ended the watch')
    const events = [...this.#waiting, ...reply.events]
    const last = events.at(-1)
    const unfinished = reply.fragment && last !== undefined ? revisionOf(last) : Number.POSITIVE_INFINITY
    this.#waiting = events.filter(event => revisionOf(event) >= unfinished)
    const complete = events.filter(event => revisionOf(event) > this.#since && revisionOf(event) < unfinished)
    return [...Map.groupBy(complete, revisionOf)].map(([revision, group]) => {
      // Never the revision of the reply's header, which may be ahead of its events (defect 1).
      this.#since = revision
      return { revision, changes: group.flatMap(event => this.#change(event, revision)) }
    })
  }

  #change({ type, kv }: IEvent, revision: Revision): Change[] {
    const found = this.#layout.find(kv.key)
    if (found === undefined) return []
    if (isStranger(found)) {
      if (type === 'Put') this.#strangers.add(found)
      else this.#strangers.remove(found.key)
      return []
    }
    const { kind, id } = found
    return [{ kind, id, item: type === 'Put' ? this.#layout.itemAt(found, kv) : undefined, revision }]
  }
}

function revisionOf({ kv }: IEvent): Revision {
  return Number(kv.mod_revision)
}
