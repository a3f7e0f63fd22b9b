// What of an answer a guard looks at, gathered event by event: texts in the order in which they began; knows no guard.
import type { AnswerEvent } from '../answer-event.ts'
import type { AnswerPiece } from '../protocols/protocol.ts'

export type AnswerKinds = ReadonlySet<AnswerPiece['kind']>

/** Characters that are looked at again with what comes after them: a part may end within a word. */
const OVERLAP = 32

/** Texts whose end is remembered while others go on. */
const MAX_ENDS = 64

interface Running {
  readonly kind: AnswerPiece['kind']
  text: string
  /** Something of it has come since the last `take`. */
  isNew: boolean
}

export class AnswerTexts {
  readonly #kinds: AnswerKinds
  readonly #max: number
  readonly #texts = new Map<string, Running>()
  /** Kinds that have come in pieces: what says them again says nothing new. */
  readonly #pieced = new Set<AnswerPiece['kind']>()
  #bytes = 0

  /** `max`: characters that are kept of each text. */
  constructor(kinds: AnswerKinds, max = Number.POSITIVE_INFINITY) {
    this.#kinds = kinds
    this.#max = max
  }

  /** Bytes that have come since they were last read or taken. */
  get bytes(): number {
    return this.#bytes
  }

  /** False for an event of a protocol of whose answers nobody knows what they say. */
  add({ pieces }: AnswerEvent): boolean {
    if (pieces === undefined) return false
    for (const { kind, of, text, again = false } of pieces) {
      if (!this.#kinds.has(kind) || text === '' || (again && this.#pieced.has(kind))) continue
      if (!again) this.#pieced.add(kind)
      const running = this.#texts.get(of) ?? { kind, text: '', isNew: true }
      running.isNew = true
      if (running.text.length < this.#max) running.text += text
      this.#texts.set(of, running)
      this.#bytes += Buffer.byteLength(text)
    }
    return true
  }

  /** All that has been said, texts that stand apart with a space between them. */
  read(): string {
    this.#bytes = 0
    return [...this.#texts.values()].map(plain).join(' ')
  }

  /** What has come since the last time, each text behind the end of what was taken of it then. */
  take(): string {
    this.#bytes = 0
    const taken: string[] = []
    for (const [of, running] of this.#texts) {
      if (!running.isNew) continue
      taken.push(plain(running))
      // It goes behind those that have been silent for longer.
      this.#texts.delete(of)
      this.#texts.set(of, { ...running, text: endOf(running.text), isNew: false })
    }
    for (const of of this.#texts.keys()) {
      if (this.#texts.size <= MAX_ENDS) break
      this.#texts.delete(of)
    }
    return taken.join(' ')
  }
}

/** Arguments are JSON, in which `b\u0061d` is how one may say bad. */
function plain({ kind, text }: Running): string {
  if (kind !== 'tool_arguments') return text
  return text.replace(/\\u([\da-f]{4})/gi, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))
}

function endOf(text: string): string {
  const end = text.slice(-OVERLAP)
  // Half a character would become U+FFFD.
  return /^[\uDC00-\uDFFF]/.test(end) ? end.slice(1) : end
}
