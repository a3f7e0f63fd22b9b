// A file that grows by lines: appended in order, off the request's path, from a queue with an end; knows not what they say.
import { constants } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { asError } from '../errors.ts'
import { JsonBytes } from './json-bytes.ts'
import type { Logger } from './log.ts'

export interface LineFileOptions {
  log: Logger
  /** Milliseconds since the epoch. */
  now(): number
  /** Lines that will never be in the file: the queue was full, or the file could not be written. */
  lost(lines: number, why: 'queue_full' | 'failed'): void
  /** Bytes that are written without waiting for more; 256 KiB without it. */
  enough?: number
}

// What may wait for the disk. Past it lines are dropped rather than memory.
const MAX_QUEUED = 16 << 20
// Lines wait for each other: a write costs as much CPU as a fifth of a request, however little is written.
const WAIT_MS = 50
const ENOUGH = 256 << 10
// Room for the lines of a moment: what was larger once is given back.
const PAGE = ENOUGH + (ENOUGH >> 2)
const LF = '\n'
const LOOK_FOR_ROTATION_EVERY = 1_000
const COMPLAIN_EVERY = 60_000

// Open files by path, a state of the process and not of a configuration: whoever logs to one path shares its queue, and
// with it the order of lines. A file leaves the map with its last user.
const files = new Map<string, LineFile>()

/** The file at `path`, created when the first line is written. Everybody who opens it closes it once. */
export function openLineFile(path: string, options: LineFileOptions): LineFile {
  let file = files.get(path)
  if (file === undefined) {
    file = new LineFile(path, options, () => files.delete(path))
    files.set(path, file)
  }
  file.users++
  return file
}

export class LineFile {
  users = 0
  readonly #path: string
  readonly #options: LineFileOptions
  readonly #gone: () => void
  readonly #enough: number
  /** Lines that wait, each with its end; undefined while none does. */
  #page: JsonBytes | undefined
  #lines = 0
  /** Bytes that are being written. */
  #leaving = 0
  #writing: Promise<void> | undefined
  /** Ends the wait for more lines, if there is one. */
  #hurry: () => void = () => {}
  #handle: FileHandle | undefined
  #lookedAt = 0
  #complainedAt = Number.NEGATIVE_INFINITY
  /** A write broke within a line. */
  #torn = false

  constructor(path: string, options: LineFileOptions, gone: () => void) {
    this.#path = path
    this.#options = options
    this.#gone = gone
    this.#enough = options.enough ?? ENOUGH
  }

  /** Queues the line that `put` writes, without its end. A `put` that throws has written nothing. */
  write(put: (line: JsonBytes) => void): void {
    this.#page ??= new JsonBytes(PAGE)
    const page = this.#page
    const before = page.length
    try {
      put(page)
      page.raw(LF)
    } catch (error) {
      page.rewind(before)
      throw error
    }
    if (page.length + this.#leaving > MAX_QUEUED) {
      page.rewind(before)
      return this.#options.lost(1, 'queue_full')
    }
    this.#lines++
    this.#writing ??= this.#drain()
    if (page.length >= this.#enough) this.#hurry()
  }

  /** Resolves when what was queued is in the file, or lost. The last user's close closes the file. */
  async close(): Promise<void> {
    this.users--
    if (this.users === 0) this.#gone()
    this.#hurry()
    await this.#writing
    if (this.users > 0) return
    await this.#handle?.close().catch(() => {})
    this.#handle = undefined
  }

  async #drain(): Promise<void> {
    while (this.#lines > 0) {
      await this.#gathered()
      const page = this.#page!
      const lines = this.#lines
      this.#page = undefined
      this.#lines = 0
      this.#leaving = page.length
      try {
        await this.#append(page.written())
      } catch (error) {
        this.#options.lost(lines, 'failed')
        this.#complain(asError(error))
      }
      this.#leaving = 0
    }
    this.#writing = undefined
  }

  /** Resolves when there is enough to write, or the first line has waited long enough. */
  async #gathered(): Promise<void> {
    if (this.#page!.length >= this.#enough || this.users === 0) return
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>(resolve => {
      this.#hurry = resolve
      timer = setTimeout(resolve, WAIT_MS)
    })
    clearTimeout(timer)
  }

  async #append(lines: Buffer): Promise<void> {
    const handle = await this.#current()
    let bytes = this.#torn ? Buffer.concat([Buffer.from(LF), lines]) : lines
    while (bytes.length > 0) {
      const { bytesWritten } = await handle.write(bytes)
      bytes = bytes.subarray(bytesWritten)
      this.#torn = bytes.length > 0
    }
  }

  /** The open file, opened again when the one at the path is another: logrotate has moved ours away. */
  async #current(): Promise<FileHandle> {
    const now = this.#options.now()
    if (this.#handle !== undefined && now - this.#lookedAt < LOOK_FOR_ROTATION_EVERY) return this.#handle
    this.#lookedAt = now
    if (this.#handle !== undefined) {
      const [ours, there] = await Promise.all([this.#handle.stat(), stat(this.#path).catch(() => undefined)])
      if (ours.ino === there?.ino && ours.dev === there.dev) return this.#handle
      await this.#handle.close().catch(() => {})
      this.#handle = undefined
    }
    this.#handle = await open(this.#path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT, 0o640)
    return this.#handle
  }

  #complain(error: Error): void {
    const now = this.#options.now()
    if (now - this.#complainedAt < COMPLAIN_EVERY) return
    this.#complainedAt = now
    this.#options.log.error({ path: this.#path, err: error }, 'log lines cannot be written and are lost')
  }
}
