// An answer: status, headers, and a body that is pushed; knows neither who made it nor who reads it.

/** A chunked body is pushed from a Source into a Sink. `end` or `fail` comes once, last. */
export interface Sink {
  write(chunk: Buffer): void
  end(): void
  fail(error: Error): void
}

/**
 * A body that has not been read yet. Whoever holds a Source pipes it or cancels it, exactly one of the two first;
 * `cancel` is harmless after the end. `pause` and `resume` are the back-pressure of the sink it is piped into.
 */
export interface Source {
  pipe(sink: Sink): void
  pause(): void
  resume(): void
  cancel(reason: Error): void
}

export interface Reply {
  status: number
  headers: HeaderList
  body: Source | Buffer | null
  /** Who produced it: our own code, or a real upstream response (facts core 1.8). */
  source: 'gateway' | 'upstream'
}

/**
 * Changes a body on its way out, one instance per request. Called for every chunk with `last` false, and once at the end
 * with an empty chunk and `last` true. Returns what goes out instead; nothing returned means the chunk as it is.
 */
export type Filter = (chunk: Buffer, last: boolean) => Buffer | void | Promise<Buffer | void>

/**
 * Header fields in the order and the case they came in, duplicates kept, looked up without regard to case.
 * `raw` is the flat name, value, name, value list that node:http and undici take as it is.
 */
export class HeaderList {
  raw: string[]

  constructor(raw: string[] = []) {
    this.raw = raw
  }

  /** The first value, or undefined. */
  get(name: string): string | undefined {
    const at = this.#find(name, 0)
    return at < 0 ? undefined : this.raw[at + 1]
  }

  /** All values in order. */
  all(name: string): string[] {
    const values: string[] = []
    for (let at = this.#find(name, 0); at >= 0; at = this.#find(name, at + 2)) values.push(this.raw[at + 1]!)
    return values
  }

  has(name: string): boolean {
    return this.#find(name, 0) >= 0
  }

  /** Replaces every field of that name by one, in the place of the first. */
  set(name: string, value: string): void {
    const at = this.#find(name, 0)
    if (at < 0) {
      this.raw.push(name, value)
      return
    }
    this.raw[at] = name
    this.raw[at + 1] = value
    for (let more = this.#find(name, at + 2); more >= 0; more = this.#find(name, more)) this.raw.splice(more, 2)
  }

  append(name: string, value: string): void {
    this.raw.push(name, value)
  }

  delete(name: string): void {
    for (let at = this.#find(name, 0); at >= 0; at = this.#find(name, at)) this.raw.splice(at, 2)
  }

  /** Name and value pairs, in order. */
  *[Symbol.iterator](): IterableIterator<[string, string]> {
    for (let at = 0; at < this.raw.length; at += 2) yield [this.raw[at]!, this.raw[at + 1]!]
  }

  clone(): HeaderList {
    return new HeaderList(this.raw.slice())
  }

  /** Fields as an object with lower-case names, repeated ones joined with a comma: for logs. */
  toObject(): Record<string, string> {
    const fields: Record<string, string> = Object.create(null) as Record<string, string>
    for (const [name, value] of this) {
      const key = name.toLowerCase()
      fields[key] = fields[key] === undefined ? value : `${fields[key]}, ${value}`
    }
    return fields
  }

  #find(name: string, from: number): number {
    const raw = this.raw
    for (let at = from; at < raw.length; at += 2) {
      const field = raw[at]!
      if (field === name || (field.length === name.length && field.toLowerCase() === name.toLowerCase())) return at
    }
    return -1
  }
}

/**
 * A reply of our own. An object is sent as JSON with a newline behind it, a string as it is; both as text/plain unless
 * `headers` say otherwise, which is what clients of APISIX see (facts core 1.4).
 */
export function reply(
  status: number,
  body?: object | string | Buffer | null,
  headers: Record<string, string> = {},
): Reply {
  const list = new HeaderList()
  for (const [name, value] of Object.entries(headers)) list.set(name, value)
  if (body === undefined || body === null) return { status, headers: list, body: null, source: 'gateway' }
  if (!list.has('content-type')) list.set('Content-Type', 'text/plain; charset=utf-8')
  const bytes = Buffer.isBuffer(body)
    ? body
    : Buffer.from(typeof body === 'string' ? body : `${JSON.stringify(body)}\n`)
  return { status, headers: list, body: bytes, source: 'gateway' }
}

/** Lets a reply go that nobody will send: its upstream is told. */
export function discard(unsent: Reply, reason: Error): void {
  if (unsent.body !== null && !Buffer.isBuffer(unsent.body)) unsent.body.cancel(reason)
}

/** Reads a whole body of at most `max` bytes. Throws what `tooLarge` makes, or the error the body ended with. */
export function readAll(source: Source, max: number, tooLarge: () => Error): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let size = 0
    source.pipe({
      write(chunk) {
        size += chunk.length
        if (size > max) {
          const error = tooLarge()
          reject(error)
          source.cancel(error)
          return
        }
        chunks.push(chunk)
      },
      end: () => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, size)),
      fail: reject,
    })
  })
}

/** Whether a hook gave what a Reply is. */
export function isReply(value: unknown): value is Reply {
  const { status, headers, body } = (value ?? {}) as Partial<Reply>
  return (
    Number.isInteger(status) &&
    headers instanceof HeaderList &&
    (body === null || Buffer.isBuffer(body) || typeof body?.pipe === 'function')
  )
}
