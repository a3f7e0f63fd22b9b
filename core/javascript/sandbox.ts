// Functions of configs, run in a process of their own: bounded in time and memory, without files, network or environment.
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { GatewayError } from '../errors.ts'
import type { Outcome } from './prelude.ts'
import type { Call } from './sandbox-process.ts'

export interface SandboxLimits {
  /** Milliseconds that a call may take. */
  timeout: number
  /** MiB of JavaScript heap. */
  heapMb: number
}

export type Returned = Exclude<Outcome, { failed: string }>

/** Calls that wait for others before them. */
const MAX_WAITING = 1_000
/** What V8 does not interrupt, and the start of the process: after so many milliseconds beyond its time it is killed. */
const SLACK_MS = 5_000
const MAX_LINE = 2 * 1024 * 1024

interface Job {
  call: Call
  resolve(outcome: Returned): void
  reject(error: Error): void
}

/** What a request is answered whose function failed; `cause` is for the log. */
export function functionFailed(cause: unknown): GatewayError {
  return new GatewayError(500, 'javascript_failed', 'a function of the configuration failed', { cause })
}

type Child = ChildProcessByStdio<Writable, Readable, null>

/**
 * A thread would not do: V8 ends the whole process, other threads and all, where one single allocation (`new
 * Array(1e8).fill(1.5)`) does not fit into the heap of one. Node's permission model keeps the process from files, sockets
 * and other processes, and node:vm keeps functions from Node. The process is started when the first function is called.
 */
export class Sandbox {
  readonly #limits: SandboxLimits
  readonly #waiting: Job[] = []
  #child: Child | undefined
  #current: Job | undefined
  #clock: NodeJS.Timeout | undefined
  #said = ''
  #closed = false

  constructor(limits: SandboxLimits) {
    this.#limits = limits
  }

  /**
   * Calls the function that `source` is the text of. Rejects with GatewayError: 500 when it fails, takes too long or too
   * much memory, 503 when too many calls wait. Nothing of why is for clients.
   */
  call(source: string, args: readonly unknown[]): Promise<Returned> {
    if (this.#waiting.length >= MAX_WAITING) {
      const headers = { 'Retry-After': '1' }
      return Promise.reject(new GatewayError(503, 'javascript_busy', 'too much waits to be decided', { headers }))
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ call: [source, JSON.stringify(args)], resolve, reject })
      this.#next()
    })
  }

  /** Ends the process; calls under way fail. */
  async close(): Promise<void> {
    this.#closed = true
    const child = this.#child
    if (child === undefined) return
    const ended = once(child, 'exit')
    child.ref()
    child.kill('SIGKILL')
    await ended
  }

  #next(): void {
    if (this.#current !== undefined) return
    const job = this.#waiting.shift()
    if (job === undefined) return
    this.#current = job
    if (this.#closed) return this.#ended('the gateway is shutting down')
    this.#child ??= this.#start()
    this.#clock = setTimeout(() => this.#child?.kill('SIGKILL'), this.#limits.timeout + SLACK_MS)
    this.#child.stdin.write(`${JSON.stringify(job.call)}\n`)
  }

  #start(): Child {
    const { timeout, heapMb } = this.#limits
    const folder = fileURLToPath(new URL('.', import.meta.url))
    const child = spawn(
      process.execPath,
      [
        '--permission',
        `--allow-fs-read=${folder}*`,
        `--max-old-space-size=${heapMb}`,
        '--max-semi-space-size=4',
        `${folder}sandbox-process.ts`,
        String(timeout),
      ],
      { env: {}, stdio: ['pipe', 'pipe', 'ignore'] },
    )
    child.stdout.setEncoding('utf8')
    child.stdout.on('data', (piece: string) => this.#heard(piece))
    child.stdin.on('error', () => {})
    child.once('error', error => this.#gone(child, error.message))
    child.once('exit', (code, signal) => {
      this.#gone(child, `its process ended with ${signal ?? `code ${code}`}: it took too much memory, or too long`)
    })
    // Nobody waits for it who does not wait for a call.
    child.unref()
    for (const pipe of [child.stdin, child.stdout]) (pipe as Readable & { unref?(): void }).unref?.()
    return child
  }

  #heard(piece: string): void {
    this.#said += piece
    const end = this.#said.indexOf('\n')
    if (end < 0) {
      if (this.#said.length > MAX_LINE) this.#child?.kill('SIGKILL')
      return
    }
    const line = this.#said.slice(0, end)
    this.#said = ''
    const job = this.#current
    const outcome = JSON.parse(line) as Outcome
    if ('failed' in outcome) return this.#ended(outcome.failed)
    this.#over()
    job?.resolve(outcome)
    this.#next()
  }

  #gone(child: Child, why: string): void {
    if (this.#child !== child) return
    this.#child = undefined
    this.#said = ''
    if (this.#current !== undefined) this.#ended(why)
  }

  #ended(why: string): void {
    const job = this.#current
    this.#over()
    job?.reject(functionFailed(new Error(why)))
    this.#next()
  }

  #over(): void {
    clearTimeout(this.#clock)
    this.#current = undefined
  }
}
