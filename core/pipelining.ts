// Requests of one connection that do not wait for each other: which may be served at once, and which must wait for their turn.
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

// RFC 9110 9.2.1
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])

/** One connection's requests that came before those in front of them were answered. */
interface Queue {
  /** All of them. */
  behind: number
  /** Those that are not served yet. */
  waiting: number
}

export interface PipeliningOptions {
  handle: RequestListener
  /** Requests that may come behind one that is being answered: node:http reads on whatever waits. */
  max: number
  /** One more has come, which is not served. */
  refuse(socket: Socket): void
}

export class Pipelining {
  readonly #options: PipeliningOptions
  readonly #queues = new WeakMap<Socket, Queue>()
  /** The request of a connection that is to be its last. */
  readonly #last = new WeakMap<Socket, IncomingMessage>()

  constructor(options: PipeliningOptions) {
    this.#options = options
  }

  /**
   * The request listener of a node:http server. Answers leave in the order of the requests whatever happens here; served in
   * parallel are only requests of which none changes anything (RFC 9112 9.3.2).
   */
  readonly receive: RequestListener = (message, response) => {
    const { socket } = message
    const last = this.#last.get(socket)
    if (last !== undefined) {
      if (last !== message) {
        socket.destroy()
        return
      }
      response.shouldKeepAlive = false
    }
    // node:http gives a response its socket when those before it are done.
    if (response.socket !== null) this.#options.handle(message, response)
    else this.#queue(message, response as Parameters<RequestListener>[1])
  }

  /**
   * A request that wants to upgrade is one like any other, and the last of its connection: node:http drops what follows it in
   * the same packet, so that from there on nobody knows where a request begins.
   */
  readonly upgrade = (message: IncomingMessage): boolean => {
    this.#last.set(message.socket, message)
    return false
  }

  #queue(message: IncomingMessage, response: Parameters<RequestListener>[1]): void {
    const { handle, max, refuse } = this.#options
    const { socket } = message
    const queue = this.#queues.get(socket) ?? { behind: 0, waiting: 0 }
    this.#queues.set(socket, queue)
    if (queue.behind >= max) {
      // What has been read already comes here too, and nothing more.
      socket.pause()
      refuse(socket)
      return
    }
    queue.behind++
    const overtakes = queue.waiting === 0 && mayOvertake(message)
    if (!overtakes) queue.waiting++
    response.once('socket', () => {
      queue.behind--
      if (overtakes) return
      queue.waiting--
      handle(message, response)
    })
    if (overtakes) handle(message, response)
  }
}

function mayOvertake({ method = '', socket }: IncomingMessage): boolean {
  // The answer that is being given. node:http tells nobody; those between it and this one are safe, or would wait.
  const { _httpMessage: current } = socket as Socket & { _httpMessage?: ServerResponse | null }
  return SAFE.has(method) && SAFE.has(current?.req.method ?? '')
}
