// A stand-in for an LLM provider, for trying things out: OpenAI chat, unary and streamed. `node t/bench/mock-llm.ts [port]`
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'

const port = Number(process.argv[2] ?? 1980)
const words = ['Hello', ' from', ' the', ' mock', '.']
const usage = { prompt_tokens: 9, completion_tokens: words.length, total_tokens: 9 + words.length }

interface Chat {
  model?: string
  stream?: boolean
  stream_options?: { include_usage?: boolean }
}

const server = createServer(async (request, response) => {
  const { model = 'mock', stream, stream_options } = JSON.parse((await text(request)) || '{}') as Chat
  const base = { id: 'chatcmpl-mock', created: 1_700_000_000, model }
  if (!stream) {
    const choices = [{ index: 0, message: { role: 'assistant', content: words.join('') }, finish_reason: 'stop' }]
    response.setHeader('Content-Type', 'application/json')
    response.end(JSON.stringify({ ...base, object: 'chat.completion', choices, usage }))
    return
  }
  response.setHeader('Content-Type', 'text/event-stream')
  const send = (event: object) =>
    response.write(`data: ${JSON.stringify({ ...base, object: 'chat.completion.chunk', ...event })}\n\n`)
  for (const content of words) {
    send({ choices: [{ index: 0, delta: { role: 'assistant', content }, finish_reason: null }] })
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  send({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] })
  if (stream_options?.include_usage) send({ choices: [], usage })
  response.end('data: [DONE]\n\n')
})
server.listen(port, '127.0.0.1', () => process.stdout.write(`mock LLM on http://127.0.0.1:${port}\n`))
