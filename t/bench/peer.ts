// A process of the bench's own: started on its cores, asked over IPC, ended with its parent; knows not what it does.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { onCores } from './cores.ts'

/** What a peer says: that it is ready (with the port it listens on), or the outcome of a job. */
export type Said = { ready: number } | { result: unknown } | { error: string }

export class Peer implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #name: string
  port = 0

  private constructor(name: string, child: ChildProcess) {
    this.#name = name
    this.#child = child
  }

  /** Starts a file of this folder and waits until it is ready. */
  static async start(file: string, args: readonly string[], cores: string | undefined): Promise<Peer> {
    const [program, ...rest] = onCores(cores, [
      process.execPath,
      fileURLToPath(new URL(file, import.meta.url)),
      ...args,
    ])
    const peer = new Peer(file, spawn(program, rest, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }))
    const said = await peer.#heard()
    peer.port = 'ready' in said ? said.ready : 0
    return peer
  }

  get pid(): number {
    return this.#child.pid!
  }

  /** Hands over a job and resolves with its result. One at a time. */
  async ask<T>(job: unknown): Promise<T> {
    const heard = this.#heard()
    this.#child.send(job as object)
    const said = await heard
    if ('error' in said) throw new Error(said.error)
    // Peers answer a job with the result that its type names.
    return ('result' in said ? said.result : undefined) as T
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const gone = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await gone
  }

  async #heard(): Promise<Said> {
    const ended = new AbortController()
    const gone = once(this.#child, 'exit', { signal: ended.signal }).then(([code, signal]) => {
      throw new Error(`${this.#name} ended (${code ?? signal})`)
    })
    gone.catch(() => {})
    try {
      const [said] = (await Promise.race([once(this.#child, 'message', { signal: ended.signal }), gone])) as [Said]
      return said
    } finally {
      ended.abort()
    }
  }
}

/** In the peer: says that it is ready. It ends with its parent, and leaves Ctrl-C to it. */
export function ready(port: number): void {
  process.on('SIGINT', () => {})
  process.on('disconnect', () => process.exit())
  process.send!({ ready: port } satisfies Said)
}
