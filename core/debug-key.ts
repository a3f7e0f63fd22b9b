// Who may see what a request went through: whoever shows the debug key, which nobody else ever sees; knows no request.
import { createHash, timingSafeEqual } from 'node:crypto'
import type { HeaderList } from './reply.ts'

export const DEBUG_FIELD = 'X-Sluice-Debug'

const MIN_LENGTH = 16

/** What is wrong with a debug key, if anything. An empty one is none. */
export function debugKeyFault(key: string): string | undefined {
  if (key !== '' && key.length < MIN_LENGTH) return `expected at least ${MIN_LENGTH} characters`
  return /^[!-~]*$/.test(key) ? undefined : 'expected ASCII characters without spaces'
}

export class DebugKey {
  readonly #digest: Buffer | undefined

  /** Without a key nobody has the right one. */
  constructor(key: string | undefined) {
    this.#digest = key === undefined || key === '' ? undefined : digest(key)
  }

  /** Takes the key off a request, so that it goes no further. Whether it was there, once, and the right one. */
  takenFrom(headers: HeaderList): boolean {
    if (!headers.has(DEBUG_FIELD)) return false
    const shown = headers.all(DEBUG_FIELD)
    headers.delete(DEBUG_FIELD)
    // Digests have one length: the time taken tells nothing of the key.
    return this.#digest !== undefined && shown.length === 1 && timingSafeEqual(digest(shown[0]!), this.#digest)
  }
}

function digest(key: string): Buffer {
  return createHash('sha256').update(key).digest()
}
