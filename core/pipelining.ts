// Requests of one connection that do not wait for each other: which may be served at once, and which must wait for their turn.
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

// RFC 9110 9.2.1
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])
// A client that sends more without reading an answer has its connection closed.
const MAX_WAITING = 100

export class Pipelining {
  readonly #handle: RequestListener
  /** How many requests of a connection wait for their turn. */
  readonly #waiting = new WeakMap<Socket, number>()
  /** The request of a connection that is to be its last. */
  readonly #last = new WeakMap<Socket, IncomingMessage>()

  constructor(handle: RequestListener) {
    this.#handle = handle
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
    if (response.socket !== null || this.#mayOvertake(message)) this.#handle(message, response)
    else this.#wait(message, response)
  }

  /**
   * A request that wants to upgrade is one like any other, and the last of its connection: node:http drops what follows it in
   * the same packet, so that from there on nobody knows where a request begins.
   */
  readonly upgrade = (message: IncomingMessage): boolean => {
    this.#last.set(message.socket, message)
    return false
  }

  #mayOvertake({ method = '', socket }: IncomingMessage): boolean {
    if (!SAFE.has(method) || (this.#waiting.get(socket) ?? 0) > 0) return false
    // The answer that is being given. node:http tells nobody; those between it and this one are safe, or would wait.
    const { _httpMessage: current } = socket as Socket & { _httpMessage?: ServerResponse | null }
    return SAFE.has(current?.req.method ?? '')
  }

  #wait(message: IncomingMessage, response: ServerResponse): void {
    const { socket } = message
    const waiting = (this.#waiting.get(socket) ?? 0) + 1
    if (waiting > MAX_WAITING) {
      socket.destroy()
      return
    }
    this.#waiting.set(socket, waiting)
    response.once('socket', () => {
      this.#waiting.set(socket, this.#waiting.get(socket)! - 1)
      this.#handle(message, response as Parameters<RequestListener>[1])
    })
  }
}
