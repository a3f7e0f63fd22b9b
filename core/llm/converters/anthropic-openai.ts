// Clients of Anthropic's messages at providers that speak OpenAI's chat completions (facts ai-plugins 4.1 to 4.4).
import { anthropicAnswer } from './anthropic-openai/answer.ts'
import { openaiHeaders } from './anthropic-openai/headers.ts'
import { openaiRequest } from './anthropic-openai/request.ts'
import { AnswerStream } from './anthropic-openai/stream.ts'
import { ToolNames } from './anthropic-openai/tool-names.ts'
import type { Converter } from './converter.ts'

export const anthropicOpenai: Converter = {
  from: 'anthropic-messages',
  to: 'openai-chat',
  open(body, model) {
    const names = new ToolNames()
    const stopSequences = Array.isArray(body.stop_sequences) ? body.stop_sequences : []
    const asked = { model, stopSequences, names }
    const stream = new AnswerStream(asked)
    return {
      body: openaiRequest(body, names),
      headers: openaiHeaders,
      response: (answer, status) => anthropicAnswer(answer, status, asked),
      event: event => stream.event(event),
      end: () => stream.end(),
    }
  },
}
