// The configuration on disk, for a start without etcd: written whole and now and then, secrets as encrypted as in etcd.
import { createHash, randomBytes } from 'node:crypto'
import { type FileHandle, mkdir, open, readFile, rename, rm, stat, utimes } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { isObject } from '../../schema.ts'
import type { Item, Revision } from '../store.ts'

/** What was served once. `savedAt` is when it was known to be etcd's, in milliseconds since the epoch. */
export interface Saved {
  readonly items: readonly Item[]
  readonly revision: Revision
  readonly savedAt: number
}

const format = 1
/** Characters that are written at once, between which the loop can breathe. */
const pieceLength = 1 << 18

export class LastGood {
  readonly file: string
  readonly #prefix: string

  /** A file in `folder`, which is made when it is missing. It says what prefix it is of, and is of use for that only. */
  constructor(folder: string, prefix: string) {
    this.file = join(folder, 'last-good.jsonl')
    this.#prefix = prefix
  }

  /**
   * Undefined when there is none. Throws an Error that names the file when it cannot be used: not readable, damaged, of
   * another prefix or version.
   */
  async load(): Promise<Saved | undefined> {
    let text: string
    try {
      text = await readFile(this.file, 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
    const end = text.lastIndexOf('\n', text.length - 2) + 1
    const body = text.slice(0, end)
    if (text.slice(end) !== `${digest(body)}\n`) throw new Error(`${this.file}: is damaged`)
    const [head = '', ...lines] = body.split('\n').slice(0, -1)
    const about: unknown = JSON.parse(head)
    if (!isObject(about) || about.format !== format) throw new Error(`${this.file}: was written by another version`)
    if (about.prefix !== this.#prefix) throw new Error(`${this.file}: is of the prefix ${String(about.prefix)}`)
    return {
      items: lines.map(line => JSON.parse(line) as Item),
      revision: about.revision as Revision,
      savedAt: (await stat(this.file)).mtimeMs,
    }
  }

  /** Replaces the file, all or nothing, mode 0600, and durably. Items with a fault are left out. */
  async save({ items, revision, savedAt }: Saved): Promise<void> {
    const folder = dirname(this.file)
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const draft = `${this.file}.${randomBytes(6).toString('hex')}`
    const handle = await open(draft, 'wx', 0o600)
    try {
      await this.#write(handle, `${JSON.stringify({ format, prefix: this.#prefix, revision })}\n`, items)
      await handle.sync()
      await handle.close()
      await rename(draft, this.file)
      await this.confirm(savedAt)
    } catch (error) {
      await handle.close()
      await rm(draft, { force: true })
      throw error
    }
    const above = await open(folder, 'r')
    await above.sync()
    await above.close()
  }

  /** What was saved is still what etcd has. */
  async confirm(at: number): Promise<void> {
    await utimes(this.file, at / 1000, at / 1000)
  }

  async #write(handle: FileHandle, head: string, items: readonly Item[]): Promise<void> {
    const hash = createHash('sha256')
    let piece = head
    const flush = async () => {
      hash.update(piece)
      await handle.write(piece)
      piece = ''
      await turn()
    }
    for (const item of items) {
      if (item.fault !== undefined) continue
      piece += `${JSON.stringify(item)}\n`
      if (piece.length > pieceLength) await flush()
    }
    await flush()
    await handle.write(`${hash.digest('hex')}\n`)
  }
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
