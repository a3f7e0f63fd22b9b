// Keep-alive connections of the load generator: one request at a time on each, reads without a copy; knows little of HTTP.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { Target } from '../workload.ts'

/** Who waits for an answer. */
export interface Reader {
  /** `chunk` is good only during the call. */
  read(chunk: Buffer): void
  fail(error: Error): void
}

// Between the read and the call nothing else runs, so that one buffer serves all sockets.
const shared = Buffer.allocUnsafeSlow(64 * 1024)

export class Connection {
  readonly socket: Socket
  reader: Reader | undefined

  constructor({ host, port }: Target) {
    this.socket = connect({
      host,
      port,
      noDelay: true,
      onread: {
        buffer: shared,
        callback: size => {
          this.reader?.read(shared.subarray(0, size))
          return true
        },
      },
    })
    this.socket.on('error', error => this.reader?.fail(error))
    this.socket.on('close', () =>
      this.reader?.fail(new Error(`${host}:${port} closed the connection within an answer`)),
    )
  }

  send(request: Buffer, reader: Reader): void {
    this.reader = reader
    this.socket.write(request)
  }
}

/** Idle connections by address. What was taken and not given back is closed by `closeAll` too. */
export class Connections {
  readonly #idle = new Map<string, Connection[]>()
  readonly #all = new Set<Connection>()

  async take(target: Target, count: number): Promise<Connection[]> {
    const idle = this.#of(target)
    const alive = idle.filter(({ socket }) => !socket.destroyed && socket.writable)
    const taken = alive.splice(0, count)
    idle.splice(0, idle.length, ...alive)
    while (taken.length < count) taken.push(await this.#open(target))
    return taken
  }

  give(target: Target, connections: readonly Connection[]): void {
    for (const connection of connections) connection.reader = undefined
    this.#of(target).push(...connections)
  }

  closeAll(): void {
    for (const { socket } of this.#all) socket.destroy()
    this.#idle.clear()
  }

  async #open(target: Target): Promise<Connection> {
    const connection = new Connection(target)
    await once(connection.socket, 'connect')
    this.#all.add(connection)
    connection.socket.on('close', () => this.#all.delete(connection))
    return connection
  }

  #of({ host, port }: Target): Connection[] {
    const key = `${host}:${port}`
    const idle = this.#idle.get(key) ?? []
    this.#idle.set(key, idle)
    return idle
  }
}

/** Throws what a contender answered when it is not 200: such a run measures nothing. */
export function expect200(text: string): void {
  if (text.startsWith('HTTP/1.1 200 ')) return
  throw new Error(`expected 200, got: ${text.slice(0, 400).replaceAll('\r\n', ' | ')}`)
}

/** Rejects when time is up. `stop` when it no longer matters. */
export function timeLimit(within: number): { up: Promise<never>; stop: () => void } {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error(`not done within ${within} ms`)), within)
  promise.catch(() => {})
  return { up: promise, stop: () => clearTimeout(timer) }
}
