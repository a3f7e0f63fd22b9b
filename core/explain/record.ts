// Numbers and short texts as bytes, one behind another, and back; knows not what they say.

const ABSENT = 255
/** Bytes of the longest text. */
export const MAX_TEXT = 254
/** Bytes of the largest record. */
export const MAX_RECORD = 8 * 1024
// What stands behind a list, and the largest thing in one.
const LAST_ROOM = 512

/** Writes into memory that is there already: no call allocates anything. */
export class RecordWriter {
  readonly #bytes: Buffer
  readonly #view: DataView
  #at = 0
  #end = 0
  /** Something was left out for want of room. */
  isCut = false

  constructor(bytes: Buffer) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  }

  /** Begins a record at `at`, behind which there are MAX_RECORD bytes. */
  begin(at: number): void {
    this.#at = at
    this.#end = at + MAX_RECORD
    this.isCut = false
  }

  /** Where the record has come to. */
  get at(): number {
    return this.#at
  }

  byte(value: number): void {
    this.#bytes[this.#at++] = value
  }

  /** A whole number of 32 bits. */
  int(value: number): void {
    this.#view.setInt32(this.#at, value, true)
    this.#at += 4
  }

  /** A number of about seven digits, or none. */
  short(value: number | undefined): void {
    this.#view.setFloat32(this.#at, value ?? Number.NaN, true)
    this.#at += 4
  }

  long(value: number): void {
    this.#view.setFloat64(this.#at, value, true)
    this.#at += 8
  }

  /** At most `max` bytes of a text in UTF-8, or none. */
  text(value: string | undefined, max = MAX_TEXT): void {
    const bytes = this.#bytes
    const start = this.#at
    if (value === undefined) {
      bytes[this.#at++] = ABSENT
      return
    }
    const length = Math.min(value.length, max)
    let at = start + 1
    for (let index = 0; index < length; index++) {
      const code = value.charCodeAt(index)
      if (code > 127) {
        at = start + 1 + bytes.write(value, start + 1, max, 'utf8')
        break
      }
      bytes[at++] = code
    }
    bytes[start] = at - start - 1
    this.#at = at
  }

  /** At most `max` things, and no more than there is room for. */
  list<T>(things: readonly T[], max: number, put: (to: RecordWriter, thing: T) => void): void {
    const start = this.#at++
    let count = 0
    for (const thing of things) {
      if (count === max || this.#end - this.#at < LAST_ROOM) {
        this.isCut = true
        break
      }
      put(this, thing)
      count++
    }
    this.#bytes[start] = count
  }
}

/** Reads what a RecordWriter wrote, in the same order. */
export class RecordReader {
  readonly #bytes: Buffer
  #at: number

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes
    this.#at = at
  }

  byte(): number {
    return this.#bytes[this.#at++]!
  }

  int(): number {
    this.#at += 4
    return this.#bytes.readInt32LE(this.#at - 4)
  }

  short(): number | undefined {
    this.#at += 4
    const value = this.#bytes.readFloatLE(this.#at - 4)
    return Number.isNaN(value) ? undefined : value
  }

  long(): number {
    this.#at += 8
    return this.#bytes.readDoubleLE(this.#at - 8)
  }

  text(): string | undefined {
    const length = this.byte()
    if (length === ABSENT) return undefined
    this.#at += length
    return this.#bytes.toString('utf8', this.#at - length, this.#at)
  }

  list<T>(read: (from: RecordReader) => T): T[] {
    return Array.from({ length: this.byte() }, () => read(this))
  }
}
