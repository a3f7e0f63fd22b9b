// Which of the values that clients choose become labels: those that are configured, and few others; knows no metric.

// Each combination of label values is a series of up to 20 numbers in every family: what clients choose must stay few.
const MAX_CHOSEN = 100
const LONGEST = 128

/** Values of one kind, such as the models of LLMs. */
export class ClientValues {
  readonly #max: number
  /** How many configurations name a value. */
  readonly #configured = new Map<string, number>()
  readonly #chosen = new Set<string>()

  /** `max` is how many values there are besides those that are configured. */
  constructor(max = MAX_CHOSEN) {
    this.#max = max
  }

  /** The value counts as configured until the returned function is called; calling it twice does nothing. */
  configured(value: string): () => void {
    this.#configured.set(value, (this.#configured.get(value) ?? 0) + 1)
    let named = true
    return () => {
      if (!named) return
      named = false
      const left = this.#configured.get(value)! - 1
      if (left === 0) this.#configured.delete(value)
      else this.#configured.set(value, left)
    }
  }

  /** The value, or `other` when it is neither configured nor one of the first different ones. */
  bounded(value: string): string {
    if (value === '' || this.#chosen.has(value) || this.#configured.has(value)) return value
    if (this.#chosen.size >= this.#max) return 'other'
    this.#chosen.add(value)
    return value
  }

  /** Others may be chosen in the place of those that are. */
  forget(): void {
    this.#chosen.clear()
  }
}

/** As much of a text as so many bytes hold, by default 128 (facts ai-plugins 19.2), cut at a character's end. */
export function short(text: string, longest = LONGEST): string {
  // Three bytes is the most that a UTF-16 unit takes in UTF-8.
  if (text.length * 3 <= longest) return text
  return text.slice(0, encoder.encodeInto(text, new Uint8Array(longest)).read)
}

const encoder = new TextEncoder()
