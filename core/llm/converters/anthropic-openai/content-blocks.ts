// The content of an answer as Anthropic streams it: one block after another, each begun, filled and ended once.
import { UpstreamError } from '../../../errors.ts'
import type { SseEvent } from '../../framing/sse.ts'
import { JsonEnd } from './json-end.ts'

/** Characters that may wait for their turn, each piece with what it costs to keep it. */
const MAX_WAITING = 16 * 1024 * 1024
const PIECE_COST = 64
/** Blocks that may wait, and tool calls of one answer. */
const MAX_BLOCKS = 1024

const members = { text: 'text', thinking: 'thinking', tool_use: 'partial_json' } as const
const deltaTypes = { text: 'text_delta', thinking: 'thinking_delta', tool_use: 'input_json_delta' } as const

interface Block {
  /** Its index for the client. */
  readonly at: number
  readonly type: keyof typeof members
  /** As it begins. */
  readonly begun: object
  /** The provider's id of a tool call. */
  readonly id: string
  /** Where the arguments of a tool call end. */
  readonly end: JsonEnd | undefined
  /** What has come while an earlier block was open. */
  waiting: string
}

/**
 * OpenAI fills several tool calls at a time; Anthropic's clients know only the block that was begun last. A block is ended
 * when another has come and nothing more can come for it: text at once, a tool call when its arguments are whole. What comes
 * for later blocks meanwhile waits.
 */
export class ContentBlocks {
  /** The first is the one that the client is being told. */
  readonly #blocks: Block[] = []
  /** The newest tool call with each of the provider's indices. */
  readonly #tools = new Map<unknown, Block>()
  #begun = 0
  #ended = 0
  #waiting = 0
  #toolCount = 0

  /** The answer calls tools. */
  get callsTools(): boolean {
    return this.#toolCount > 0
  }

  text(type: 'text' | 'thinking', piece: string, out: SseEvent[]): void {
    if (piece === '') return
    let block = this.#blocks.at(-1)
    if (block?.type !== type) {
      const begun = type === 'text' ? { type, text: '' } : { type, thinking: '', signature: '' }
      block = this.#add({ type, begun, id: '', end: undefined }, out)
    }
    this.#fill(block, piece, out)
  }

  /** A part of the tool call with the provider's index `at`. Another id there means another call, as Gemini has it. */
  tool(at: unknown, call: { id: string; name: string; piece: string }, out: SseEvent[]): void {
    const { id, name, piece } = call
    let block = this.#tools.get(at)
    if (block === undefined || (id !== '' && name !== '' && block.id !== '' && block.id !== id)) {
      if (++this.#toolCount > MAX_BLOCKS) throw new UpstreamError('malformed', 'the answer calls too many tools')
      const begun = { type: 'tool_use', id, name, input: {} }
      block = this.#add({ type: 'tool_use', begun, id, end: new JsonEnd() }, out)
      this.#tools.set(at, block)
    }
    if (piece === '') return
    block.end?.feed(piece)
    this.#fill(block, piece, out)
    this.#advance(out)
  }

  /** Nothing more will come. */
  end(out: SseEvent[]): void {
    while (this.#blocks.length > 0) this.#next(out)
  }

  #add(known: Omit<Block, 'at' | 'waiting'>, out: SseEvent[]): Block {
    const block = { ...known, at: this.#begun++, waiting: '' }
    this.#blocks.push(block)
    if (this.#blocks.length === 1) this.#begin(block, out)
    else this.#advance(out)
    if (this.#blocks.length > MAX_BLOCKS) throw new UpstreamError('malformed', 'the answer has too many open blocks')
    return block
  }

  #fill(block: Block, piece: string, out: SseEvent[]): void {
    if (block === this.#blocks[0]) return void out.push(this.#delta(block, piece))
    if (block.at < this.#ended) return
    this.#waiting += piece.length + PIECE_COST
    if (this.#waiting > MAX_WAITING) throw new UpstreamError('too_large', 'too much of the answer waits for its turn')
    block.waiting += piece
  }

  #advance(out: SseEvent[]): void {
    while (this.#blocks.length > 1 && this.#blocks[0]!.end?.reached !== false) this.#next(out)
  }

  /** Ends the first block and begins the one behind it. */
  #next(out: SseEvent[]): void {
    this.#blocks.shift()
    out.push({ type: 'content_block_stop', data: `{"type":"content_block_stop","index":${this.#ended++}}` })
    if (this.#blocks.length <= 1) this.#waiting = 0
    const next = this.#blocks[0]
    if (next !== undefined) this.#begin(next, out)
  }

  #begin(block: Block, out: SseEvent[]): void {
    const begun = JSON.stringify(block.begun)
    const data = `{"type":"content_block_start","index":${block.at},"content_block":${begun}}`
    out.push({ type: 'content_block_start', data })
    if (block.waiting === '') return
    out.push(this.#delta(block, block.waiting))
    block.waiting = ''
  }

  /** Written by hand: nearly all events of a stream are this one. */
  #delta({ at, type }: Block, piece: string): SseEvent {
    const delta = `{"type":"${deltaTypes[type]}","${members[type]}":${JSON.stringify(piece)}}`
    return {
      type: 'content_block_delta',
      data: `{"type":"content_block_delta","index":${at},"delta":${delta}}`,
    }
  }
}
