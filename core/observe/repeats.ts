// The same fault again and again: the first lines of a while are written, the others counted and told; knows no log.

export interface Repeats {
  /** Whether this line is to be written. */
  admits(key: string): boolean
  /** The while is over now: tells what was left out. */
  end(): void
}

/** Lines of one kind that are written within a while. */
const MOST = 50
const WHILE_MS = 10_000
/** Kinds that are counted each by itself; whatever else comes is one kind together. */
const MAX_KINDS = 1_000

interface Kind {
  written: number
  leftOut: number
}

/**
 * `tell` hears at the end of a while how many lines of a kind were left out, if any were. A kind is what its key says, so
 * keys are made of few words: a message and who says it.
 */
export function openRepeats(tell: (key: string, leftOut: number) => void, whileMs = WHILE_MS): Repeats {
  const kinds = new Map<string, Kind>()
  let timer: NodeJS.Timeout | undefined
  const end = () => {
    clearTimeout(timer)
    timer = undefined
    const ended = [...kinds]
    kinds.clear()
    for (const [key, { leftOut }] of ended) if (leftOut > 0) tell(key, leftOut)
  }
  return {
    end,
    admits(key) {
      const known = kinds.has(key) || kinds.size < MAX_KINDS ? key : OTHERS
      const kind = kinds.get(known) ?? { written: 0, leftOut: 0 }
      kinds.set(known, kind)
      // Not worth a process's while to live for.
      timer ??= setTimeout(end, whileMs).unref()
      if (kind.written < MOST) {
        kind.written++
        return true
      }
      kind.leftOut++
      return false
    },
  }
}

const OTHERS = 'other lines'
