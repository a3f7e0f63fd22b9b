// What a model says, as OpenAI's API and as Anthropic's would bring it: whole, or as the events of a stream.

export interface Said {
  thinking?: string
  text?: string
  tools?: readonly { id: string; name: string; input: object }[]
  /** In OpenAI's words; `tool_calls` or `stop` by what is said, when left out. */
  finish?: string
}

export const tokens = { input: 11, output: 7 }

/** Everything of an answer in the words of one protocol. */
export interface Wire {
  whole(said: Said): object
  /** Events, each as it goes on the wire; parallel tool calls come interleaved where the protocol has that. */
  stream(said: Said): string[]
  error(status: number, message: string): object
  /** An error within a stream. */
  errorEvent(message: string): string
}

/** Pieces of at most `size` characters. */
export function piecesOf(text: string, size = 5): string[] {
  return Array.from({ length: Math.ceil(text.length / size) }, (_, at) => text.slice(at * size, (at + 1) * size))
}

const data = (value: unknown) => `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`
const event = (value: Record<string, unknown> & { type: string }) => `event: ${value.type}\n${data(value)}`

const finishOf = ({ tools, finish }: Said) => finish ?? (tools === undefined ? 'stop' : 'tool_calls')
const usage = { prompt_tokens: tokens.input, completion_tokens: tokens.output, total_tokens: 18 }

export const openai: Wire = {
  whole(said) {
    const calls = said.tools?.map(({ id, name, input }) => ({
      id,
      type: 'function',
      function: { name, arguments: JSON.stringify(input) },
    }))
    const message = {
      role: 'assistant',
      content: said.text ?? null,
      ...(said.thinking !== undefined && { reasoning_content: said.thinking }),
      ...(calls && { tool_calls: calls }),
    }
    const choices = [{ index: 0, message, finish_reason: finishOf(said) }]
    return { id: 'chatcmpl-1', object: 'chat.completion', created: 1, model: 'gpt-x', choices, usage }
  },
  stream(said) {
    const chunk = (delta: object, finish_reason: string | null = null) =>
      data({
        id: 'chatcmpl-1',
        object: 'chat.completion.chunk',
        created: 1,
        model: 'gpt-x',
        choices: [{ index: 0, delta, finish_reason }],
      })
    const call = (index: number, rest: object) => chunk({ tool_calls: [{ index, ...rest }] })
    const tools = said.tools ?? []
    const pieces = tools.map(({ input }) => piecesOf(JSON.stringify(input)))
    const rounds = Math.max(0, ...pieces.map(({ length }) => length))
    return [
      chunk({ role: 'assistant', content: '' }),
      ...piecesOf(said.thinking ?? '').map(piece => chunk({ reasoning_content: piece })),
      ...piecesOf(said.text ?? '').map(piece => chunk({ content: piece })),
      ...tools.map(({ id, name }, at) => call(at, { id, type: 'function', function: { name, arguments: '' } })),
      ...Array.from({ length: rounds }, (_, round) =>
        pieces.flatMap((of, at) => (of[round] === undefined ? [] : call(at, { function: { arguments: of[round] } }))),
      ).flat(),
      chunk({}, finishOf(said)),
      data({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'gpt-x', choices: [], usage }),
      data('[DONE]'),
    ]
  },
  error: (status, message) => ({ error: { message, type: `of_${status}`, param: null, code: null } }),
  errorEvent: message => data({ error: { message, type: 'overloaded_error' } }),
}

const reasons: Record<string, string> = { stop: 'end_turn', tool_calls: 'tool_use', length: 'max_tokens' }
const counted = { input_tokens: tokens.input, output_tokens: tokens.output }

export const anthropic: Wire = {
  whole: said => ({
    id: 'msg_1',
    type: 'message',
    role: 'assistant',
    model: 'claude-x',
    content: blocksOf(said),
    stop_reason: reasons[finishOf(said)],
    stop_sequence: null,
    usage: counted,
  }),
  stream(said) {
    const start = {
      id: 'msg_1',
      type: 'message',
      role: 'assistant',
      model: 'claude-x',
      content: [],
      stop_reason: null,
      stop_sequence: null,
      usage: { ...counted, output_tokens: 1 },
    }
    return [
      event({ type: 'message_start', message: start }),
      event({ type: 'ping' }),
      ...blocksOf(said).flatMap(blockEvents),
      event({
        type: 'message_delta',
        delta: { stop_reason: reasons[finishOf(said)], stop_sequence: null },
        usage: { output_tokens: tokens.output },
      }),
      event({ type: 'message_stop' }),
    ]
  },
  error: (status, message) => ({ type: 'error', error: { type: `of_${status}`, message } }),
  errorEvent: message => event({ type: 'error', error: { type: 'overloaded_error', message } }),
}

type Block =
  | { type: 'thinking'; thinking: string; signature: string }
  | { type: 'text'; text: string }
  | { type: 'tool_use'; id: string; name: string; input: object }

/** What Anthropic's clients get, whichever of the two has brought it. */
export function blocksOf({ thinking, text, tools = [] }: Said): Block[] {
  return [
    ...(thinking === undefined ? [] : [{ type: 'thinking', thinking, signature: '' } as const]),
    ...(text === undefined ? [] : [{ type: 'text', text } as const]),
    ...tools.map(({ id, name, input }) => ({ type: 'tool_use', id, name, input }) as const),
  ]
}

function blockEvents(block: Block, index: number): string[] {
  return [
    event({ type: 'content_block_start', index, content_block: { ...block, ...begun[block.type] } }),
    ...deltasOf(block).map(delta => event({ type: 'content_block_delta', index, delta })),
    event({ type: 'content_block_stop', index }),
  ]
}

const begun = { thinking: { thinking: '' }, text: { text: '' }, tool_use: { input: {} } }

function deltasOf(block: Block): object[] {
  if (block.type === 'text') return piecesOf(block.text).map(text => ({ type: 'text_delta', text }))
  if (block.type === 'thinking') {
    return piecesOf(block.thinking).map(thinking => ({ type: 'thinking_delta', thinking }))
  }
  return piecesOf(JSON.stringify(block.input)).map(partial_json => ({ type: 'input_json_delta', partial_json }))
}
