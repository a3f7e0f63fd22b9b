// What a request to an LLM says, piece by piece, as guards look at it: what a piece is and how readers of protocols write it
// down; knows no protocol.
import { isShallow } from './json.ts'

/** Who speaks. `developer` is the system's, `function` a tool; whoever is not known counts as the user. */
export type PromptRole = 'system' | 'user' | 'assistant' | 'tool'

/**
 * `not_text` is whatever cannot be read: an image, audio, a file, something encrypted, and all that a reader does not know.
 * Its text is the name of its type.
 */
export type PromptKind = 'text' | 'tool_arguments' | 'tool_result' | 'reasoning' | 'not_text'

/** Definitions of tools, names and ids are none. */
export interface Prompt {
  readonly role: PromptRole
  readonly kind: PromptKind
  /** Never empty. */
  readonly text: string
  /** Index of the message or item in which it stands; -1 for what the protocol keeps in front of all of them. */
  readonly turn: number
}

/** Whether a request says more than these: what it ends with is not among them. */
export function isCutShort(prompts: readonly Prompt[]): boolean {
  return prompts.length > MAX_PROMPTS
}

/** Where a piece stands. */
export type PromptPlace = Pick<Prompt, 'role' | 'turn'>

/** In front of all messages. */
export const IN_FRONT = -1

// A body of 64 MiB can have twenty million texts of one character, at 60 bytes each for what they become here.
const MAX_PROMPTS = 100_000
// What a type is called is the client's word, and comes to logs.
const MAX_TYPE = 64

/** The pieces of one request in the order in which they come. What is past the hundred thousandth is one `not_text`. */
export class PromptList {
  readonly all: Prompt[] = []

  /** A text; nothing for null, undefined and ''. Anything else is not text, of type `named`. */
  text(place: PromptPlace, value: unknown, named: string, kind: PromptKind = 'text'): void {
    if (typeof value === 'string') this.#push(place, kind, value)
    else if (value !== undefined && value !== null) this.notText(place, named)
  }

  /** JSON, as text or as a value; becomes JSON text in which no letter is escaped that need not be. */
  json(place: PromptPlace, value: unknown, named: string, kind: PromptKind = 'tool_arguments'): void {
    if (value === undefined || value === null) return
    if (typeof value === 'string') this.#push(place, kind, unescaped(value))
    else if (isShallow(value)) this.#push(place, kind, JSON.stringify(value))
    else this.notText(place, named)
  }

  /** What cannot be read. */
  notText(place: PromptPlace, type: unknown): void {
    this.#push(place, 'not_text', typeof type === 'string' && type !== '' ? type.slice(0, MAX_TYPE) : 'unknown')
  }

  #push({ role, turn }: PromptPlace, kind: PromptKind, text: string): void {
    if (text === '' || this.all.length > MAX_PROMPTS) return
    if (this.all.length < MAX_PROMPTS) this.all.push({ role, kind, text, turn })
    else this.all.push({ role, kind: 'not_text', text: 'too_many', turn })
  }
}

/** The role in a message of any protocol. */
export function promptRole(role: unknown): PromptRole {
  if (role === 'system' || role === 'developer') return 'system'
  if (role === 'assistant') return 'assistant'
  return role === 'tool' || role === 'function' ? 'tool' : 'user'
}

/** `{"a":"b\u0061d"}` says bad to the tool that reads it, and may say so to the model. */
function unescaped(json: string): string {
  if (!json.includes('\\u') && !json.includes('\\/')) return json
  try {
    const value: unknown = JSON.parse(json)
    return isShallow(value) ? JSON.stringify(value) : json
  } catch {
    return json
  }
}
