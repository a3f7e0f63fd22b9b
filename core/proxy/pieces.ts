// A large body in memory as a stream of pieces, so that it can be told whether its receiver takes any of it.
import { Readable } from 'node:stream'
import type { Upload } from '../body.ts'

const PIECE = 64 * 1024

/** The same request; a body of more than a few pieces becomes a stream of known length. */
export function inPieces<T extends { headers: string[]; body: Buffer | Readable | Upload | null }>(request: T): T {
  const { headers, body } = request
  if (!Buffer.isBuffer(body) || body.length <= 4 * PIECE) return request
  const measured = headers.some((name, at) => at % 2 === 0 && name.toLowerCase() === 'content-length')
  return {
    ...request,
    headers: measured ? headers : [...headers, 'Content-Length', String(body.length)],
    body: new Pieces(body),
  }
}

class Pieces extends Readable {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    super({ highWaterMark: PIECE })
    this.#bytes = bytes
  }

  override _read(): void {
    const from = this.#at
    this.#at += PIECE
    this.push(from < this.#bytes.length ? this.#bytes.subarray(from, this.#at) : null)
  }
}
