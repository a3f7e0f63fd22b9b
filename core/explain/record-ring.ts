// Records one behind another in memory of a fixed size, the oldest overwritten; knows not what they say.
import { MAX_RECORD, RecordReader, RecordWriter } from './record.ts'

const HEAD = 2
/** Bytes of the smallest ring. */
export const MIN_RING = 4 * MAX_RECORD
const UNWRAPPED = -1

export class RecordRing {
  readonly #bytes: Buffer
  readonly #writer: RecordWriter
  #oldest = 0
  #next = 0
  /** Where the records end that stand before the wrap, while the oldest is one of them. */
  #wrap = UNWRAPPED
  #count = 0

  /** `size` is in bytes, at least MIN_RING. */
  constructor(size: number) {
    // Not of Node's pool, and not touched before it is written: the system gives it page by page.
    this.#bytes = Buffer.from(new ArrayBuffer(size))
    this.#writer = new RecordWriter(this.#bytes)
  }

  get count(): number {
    return this.#count
  }

  /** Has `put` write a record of at most MAX_RECORD bytes where it is to stand; the oldest go as far as they are in its way. */
  add<T>(thing: T, put: (to: RecordWriter, thing: T) => void): void {
    const writer = this.#writer
    const start = this.#free()
    writer.begin(start)
    writer.byte(0)
    writer.byte(0)
    put(writer, thing)
    const length = writer.at - start
    this.#bytes[start] = length & 255
    this.#bytes[start + 1] = length >> 8
    this.#next = writer.at
    this.#count++
  }

  /** A reader of the last record that begins with this text, in UTF-8. */
  last(text: Buffer): RecordReader | undefined {
    let found: number | undefined
    let at = this.#oldest
    let wrap = this.#wrap
    for (let left = this.#count; left > 0; left--) {
      if (at === wrap) {
        at = 0
        wrap = UNWRAPPED
      }
      if (this.#beginsWith(text, at + HEAD)) found = at
      at += this.#lengthAt(at)
    }
    return found === undefined ? undefined : new RecordReader(this.#bytes, found + HEAD)
  }

  #beginsWith(text: Buffer, at: number): boolean {
    const start = at + 1
    return (
      this.#bytes[at] === text.length && this.#bytes.compare(text, 0, text.length, start, start + text.length) === 0
    )
  }

  /** Where MAX_RECORD bytes are free. */
  #free(): number {
    if (this.#next + MAX_RECORD > this.#bytes.length) {
      while (this.#wrap !== UNWRAPPED) this.#drop()
      this.#wrap = this.#next
      this.#next = 0
    }
    while (this.#wrap !== UNWRAPPED && this.#oldest < this.#next + MAX_RECORD) this.#drop()
    return this.#next
  }

  #drop(): void {
    if (this.#count > 0) {
      this.#oldest += this.#lengthAt(this.#oldest)
      this.#count--
    }
    if (this.#oldest !== this.#wrap) return
    this.#oldest = 0
    this.#wrap = UNWRAPPED
  }

  #lengthAt(at: number): number {
    return this.#bytes[at]! | (this.#bytes[at + 1]! << 8)
  }
}
