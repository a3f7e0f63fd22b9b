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

/** Who asks: the number of a thread. */
type Asker = number

interface Kept {
  readonly checker: Checker
  readonly wishes: Map<Asker, Watch>
}

export class HealthKeeper {
  readonly #options: CheckerOptions
  readonly #kept = new Map<string, Kept>()

  constructor(options: CheckerOptions) {
    this.#options = options
  }

  /** That thread wants these targets probed, in the place of what it wanted by the same key. */
  watch(asker: Asker, watch: Watch): void {
    const known = this.#kept.get(watch.key)
    if (known === undefined) {
      this.#kept.set(watch.key, { checker: new Checker(watch, this.#options), wishes: new Map([[asker, watch]]) })
      return
    }
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
    this.#kept.delete(key)
    known.checker.close()
  }

  /** That thread is gone. */
  forget(asker: Asker): void {
    for (const key of [...this.#kept.keys()]) this.unwatch(asker, key)
  }

  close(): void {
    for (const { checker } of this.#kept.values()) checker.close()
    this.#kept.clear()
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
