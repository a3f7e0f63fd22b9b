// A TCP proxy in front of etcd that breaks connections in every way there is, at a chosen point of a watch if asked to.
import { connect, createServer, type Server, type Socket } from 'node:net'
import { WatchEnd } from './watch-end.ts'

/** Where a connection that carries a watch is cut; see WatchEnd. */
export type CutPoint = 'before created' | 'after created' | 'within a fragment' | 'after a fragment'

export interface FaultProxy {
  readonly port: number
  /** Cuts every connection there is. */
  cut(): void
  /** Cuts the next connection whose watch gets there, or none. Resolves when it has. */
  cutNext(point: CutPoint | undefined): Promise<void>
  /** Nothing gets through until `heal`, of old connections and of new ones. */
  blackhole(): void
  /** Requests get through until `heal`, answers do not. */
  mute(): void
  /**
   * Everybody is turned away until `heal`. The port stays ours: closed, it could be taken by any connection that anybody
   * on this machine opens.
   */
  refuse(): void
  /**
   * Keeps what clients send next on the connections there are, and drops what they send after it. Resolves, when there is
   * something, with what sends it on at last, though the clients may have left.
   */
  hold(): Promise<() => void>
  /** All is well from now on; connections that were kept in the dark are cut, as a network's would be in the end. */
  heal(): void
  close(): Promise<void>
}

/** Listens on a free port of 127.0.0.1 and passes on to `target`, a port there. */
export async function startFaultProxy(target: number): Promise<FaultProxy> {
  const proxy = new TcpProxy(target)
  await proxy.open()
  return proxy
}

interface Pair {
  readonly client: Socket
  readonly server: Socket
  held: Buffer[] | undefined
}

class TcpProxy implements FaultProxy {
  port = 0
  readonly #target: number
  readonly #pairs = new Set<Pair>()
  #server: Server | undefined
  #dark: 'both ways' | 'answers' | undefined
  #next: { point: CutPoint; done: () => void } | undefined
  #holding: (() => void) | undefined
  #refusing = false

  constructor(target: number) {
    this.#target = target
  }

  cut(): void {
    for (const pair of this.#pairs) this.#end(pair)
  }

  cutNext(point: CutPoint | undefined): Promise<void> {
    return new Promise(done => {
      this.#next = point && { point, done }
    })
  }

  blackhole(): void {
    this.#dark = 'both ways'
  }

  mute(): void {
    this.#dark = 'answers'
  }

  refuse(): void {
    this.#refusing = true
    this.cut()
  }

  async hold(): Promise<() => void> {
    const pairs = [...this.#pairs]
    for (const pair of pairs) pair.held = []
    await new Promise<void>(resolve => {
      this.#holding = resolve
    })
    this.#holding = undefined
    return () => {
      for (const { server, held = [] } of pairs) server.write(Buffer.concat(held))
    }
  }

  heal(): void {
    if (this.#dark !== undefined) this.cut()
    this.#dark = undefined
    this.#refusing = false
  }

  async close(): Promise<void> {
    const server = this.#server
    this.#server = undefined
    this.cut()
    if (server !== undefined) await new Promise(resolve => server.close(resolve))
  }

  async open(): Promise<void> {
    const server = createServer(client => {
      if (this.#refusing) client.on('error', () => {}).resetAndDestroy()
      else this.#accept(client)
    })
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve))
    this.port = (server.address() as { port: number }).port
    this.#server = server
  }

  #accept(client: Socket): void {
    const pair: Pair = { client, server: connect(this.#target, '127.0.0.1'), held: undefined }
    this.#pairs.add(pair)
    const watch = new WatchEnd()
    for (const socket of [client, pair.server]) {
      socket.setNoDelay(true)
      socket.on('error', () => {})
    }
    client.on('close', () => {
      if (pair.held === undefined) this.#end(pair)
    })
    pair.server.on('close', () => this.#end(pair))
    client.on('data', (bytes: Buffer) => {
      if (this.#dark === 'both ways') return
      if (pair.held !== undefined) return this.#keep(pair.held, bytes)
      watch.fromClient(bytes)
      pair.server.write(bytes)
    })
    pair.server.on('data', (bytes: Buffer) => {
      if (this.#dark === undefined) this.#answer(pair, watch, bytes)
    })
  }

  /** What comes before a cut arrives. */
  #answer(pair: Pair, watch: WatchEnd, bytes: Buffer): void {
    const at = watch.fromServer(bytes, this.#next?.point)
    if (at === undefined) {
      if (!pair.client.destroyed) pair.client.write(bytes)
      return
    }
    this.#next?.done()
    this.#next = undefined
    pair.client.write(bytes.subarray(0, at), () => this.#end(pair))
  }

  #keep(held: Buffer[], bytes: Buffer): void {
    if (this.#holding === undefined) return
    held.push(bytes)
    // A request comes in several pieces, all in one turn of its sender's loop.
    setTimeout(this.#holding, 50)
  }

  #end(pair: Pair): void {
    this.#pairs.delete(pair)
    pair.client.destroy()
    pair.server.destroy()
  }
}
