// Names of tools that OpenAI's API does not take, and the way back (facts ai-plugins 4.1).
import { createHash } from 'node:crypto'

const LONGEST = 64

/** Remembers for one call which names it has changed. */
export class ToolNames {
  readonly #originals = new Map<string, string>()

  /** The name for the provider: letters, digits, `_` and `-`, at most 64 of them; the same for the same name, always. */
  outward(name: string): string {
    // One underscore for each byte.
    const plain = Buffer.from(name)
      .toString('latin1')
      .replace(/[^a-zA-Z0-9_-]/g, '_')
    if (plain === name && name.length <= LONGEST) return name
    const hash = createHash('sha256').update(name).digest('hex').slice(0, 8)
    const changed = `${plain.slice(0, LONGEST - 1 - hash.length)}_${hash}`
    this.#originals.set(changed, name)
    return changed
  }

  /** The client's own name. */
  inward(name: string): string {
    return this.#originals.get(name) ?? name
  }
}
