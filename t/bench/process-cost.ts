// CPU time and resident memory of a process with all its descendants, from /proc; knows not what they do.
import { readdirSync, readFileSync } from 'node:fs'

/**
 * Nanoseconds that the tree has run, user and system: the scheduler's own count for every thread, exact when the thread is
 * not running (the ticks of /proc/PID/stat are 10 ms). Undefined where there is no such count. Threads that have ended are
 * not in it; neither Node nor nginx ends threads while it serves.
 */
export function cpuNanos(root: number): number | undefined {
  try {
    return sum(tree(root), pid =>
      sum(readdirSync(`/proc/${pid}/task`), thread =>
        Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]),
      ),
    )
  } catch {
    return undefined
  }
}

/** Bytes of the tree in memory, counted page by page (the counter in /proc/PID/status may lag by some hundred KB). */
export function residentBytes(root: number): number | undefined {
  try {
    return sum(tree(root), pid => {
      const [, kilobytes] = /^Rss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))!
      return Number(kilobytes) * 1_024
    })
  } catch {
    return undefined
  }
}

function tree(root: number): number[] {
  const parents = new Map<number, number>()
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    try {
      // The name in brackets may hold anything; the parent is the second field behind it.
      const [, rest] = /\) . (\d+)/.exec(readFileSync(`/proc/${entry}/stat`, 'utf8')) ?? []
      parents.set(Number(entry), Number(rest))
    } catch {
      // It has ended meanwhile.
    }
  }
  const found = [root]
  for (const parent of found) for (const [pid, of] of parents) if (of === parent) found.push(pid)
  return found
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0)
}
