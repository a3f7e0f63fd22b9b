// Preloaded into a process under test (`node --import`): writes down how late each of its loops comes, and its heap.
import { appendFileSync, readFileSync } from 'node:fs'
import { getHeapStatistics } from 'node:v8'
import { isMainThread, parentPort, threadId } from 'node:worker_threads'

/** How late a loop was, at a time since the epoch; in milliseconds. */
export interface LoopSample {
  at: number
  late: number
  /** What of it is not the machine's: without the time in which other work had the cores. */
  own: number
}

/** What one thread has seen since the last time: JSON, one per line. */
export interface LoopReport {
  thread: number
  main: boolean
  heap: number
  /** When the first message between main and a worker came, which ends the loading of modules. */
  talking: number | undefined
  samples: LoopSample[]
}

/** Milliseconds that this thread was ready to run and did not; 0 where the kernel does not say. */
function waitedForCores(): number {
  try {
    return Number(readFileSync('/proc/thread-self/schedstat', 'utf8').split(' ')[1]) / 1e6
  } catch {
    return 0
  }
}

const EVERY_MS = 4
const WRITE_EVERY_MS = 250

const file = process.env.LOOP_SAMPLES
if (file !== undefined) {
  let talking: number | undefined
  const heard = () => {
    talking ??= Date.now()
  }
  process.on('worker', worker => worker.once('message', heard))
  parentPort?.once('message', heard)

  let samples: LoopSample[] = []
  let due = performance.now() + EVERY_MS
  let waited = waitedForCores()
  const sample = () => {
    const now = performance.now()
    const at = Date.now()
    const waitedNow = waitedForCores()
    const others = waitedNow - waited
    waited = waitedNow
    // As if it had been looked at all the while: a stand of 100 ms is late by 100 ms, by 96, by 92 and so on.
    for (let late = now - due; late > -EVERY_MS; late -= EVERY_MS) {
      samples.push({ at, late: Math.max(0, late), own: Math.max(0, late - others) })
    }
    due = now + EVERY_MS
    setTimeout(sample, EVERY_MS).unref()
  }
  sample()
  setInterval(() => {
    const heap = getHeapStatistics().used_heap_size
    const report: LoopReport = { thread: threadId, main: isMainThread, heap, talking, samples }
    appendFileSync(file, `${JSON.stringify(report)}\n`)
    samples = []
  }, WRITE_EVERY_MS).unref()
}
