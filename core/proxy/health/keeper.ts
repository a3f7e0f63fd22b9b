// Every upstream that is checked, whoever asked for it: one checker for equal wishes of many threads. Runs in one thread.
import type { Watch } from './board.ts'
import { Checker, type CheckerOptions } from './checker.ts'
import { type Counter, counterOf, isUsable, type Status, statusOf } from './state.ts'

/** One checked upstream, as the control API shows it (facts core 5.6). */
export interface CheckedUpstream {
  name: string
  type: string
  nodes: { ip: string; port: number; hostname: string; status: Status; counter: Counter }[]
}

export interface HealthKeeperOptions extends CheckerOptions {
  /** Milliseconds for which targets are checked that only a thread asked for which is gone. */
  lingerMs?: number
}

/** Who asks: the number of a thread. */
type Asker = number

interface Kept {
  readonly checker: Checker
  readonly wishes: Map<Asker, Watch>
  /** When nobody has asked for it for long enough. */
  end: NodeJS.Timeout | undefined
}

// What a thread that is gone has asked for is likely to be asked for again by the one that takes its place.
const LINGER_MS = 300_000

export class HealthKeeper {
  readonly #options: HealthKeeperOptions
  readonly #kept = new Map<string, Kept>()

  constructor(options: HealthKeeperOptions) {
    this.#options = options
  }

  /** That thread wants these targets probed, in the place of what it wanted by the same key. */
  watch(asker: Asker, watch: Watch): void {
    const known = this.#kept.get(watch.key)
    if (known === undefined) {
      const checker = new Checker(watch, this.#options)
      this.#kept.set(watch.key, { checker, wishes: new Map([[asker, watch]]), end: undefined })
      return
    }
    clearTimeout(known.end)
    known.wishes.set(asker, watch)
    known.checker.update(together(watch, known.wishes.values()))
  }

  /** That thread wants nothing by that key any more. */
  unwatch(asker: Asker, key: string): void {
    const known = this.#kept.get(key)
    if (known === undefined || !known.wishes.delete(asker)) return
    const [left] = known.wishes.values()
    if (left !== undefined) {
      known.checker.update(together(left, known.wishes.values()))
      return
    }
    this.#end(key, known)
  }

  /** That thread is gone. What nobody else wants is known for a while yet. */
  forget(asker: Asker): void {
    for (const [key, known] of this.#kept) {
      if (!known.wishes.has(asker)) continue
      if (known.wishes.size > 1) {
        this.unwatch(asker, key)
        continue
      }
      known.wishes.clear()
      known.end = setTimeout(() => this.#end(key, known), this.#options.lingerMs ?? LINGER_MS)
    }
  }

  close(): void {
    for (const [key, known] of this.#kept) this.#end(key, known)
  }

  #end(key: string, { checker, end }: Kept): void {
    clearTimeout(end)
    this.#kept.delete(key)
    checker.close()
  }

  /** In the order of their names. */
  list(): CheckedUpstream[] {
    return [...this.#kept.values()]
      .map(({ checker }) => ({
        name: checker.watch.name,
        type: checker.watch.checks.type,
        nodes: checker.targets.map(({ target: { ip, port, hostname }, state }) => ({
          ip,
          port,
          hostname,
          status: statusOf(state),
          counter: counterOf(state),
        })),
      }))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  /** What metrics say of each target: whether it is used. */
  *usable(): IterableIterator<{ name: string; ip: string; port: number; usable: boolean }> {
    for (const { checker } of this.#kept.values()) {
      for (const { target, state } of checker.targets) {
        yield { name: checker.watch.name, ip: target.ip, port: target.port, usable: isUsable(state) }
      }
    }
  }
}

/** Threads may know different addresses of one name: all of them are probed, each once. */
function together(latest: Watch, wishes: Iterable<Watch>): Watch {
  return { ...latest, targets: [...wishes].flatMap(({ targets }) => targets) }
}
