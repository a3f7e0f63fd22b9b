// Finds where a JSON object that comes in pieces ends; knows brackets and strings, and judges nothing else.

const QUOTE = 0x22
const BACKSLASH = 0x5c

/** Looks at every character once, however small the pieces are. */
export class JsonEnd {
  /** The object or list has been closed. */
  reached = false
  #depth = 0
  #inString = false
  #escaped = false

  feed(piece: string): void {
    for (let at = 0; at < piece.length && !this.reached; at++) {
      const code = piece.charCodeAt(at)
      if (this.#escaped) this.#escaped = false
      else if (this.#inString) {
        if (code === BACKSLASH) this.#escaped = true
        else if (code === QUOTE) this.#inString = false
      } else if (code === QUOTE) this.#inString = true
      else if (code === 0x7b || code === 0x5b) this.#depth++
      else if (code === 0x7d || code === 0x5d) {
        this.#depth--
        this.reached = this.#depth <= 0
      }
    }
  }
}
