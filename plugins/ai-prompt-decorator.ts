// ai-prompt-decorator: prompts of the operator's in front of a request's messages and behind them (facts ai-plugins 10).
import { noteAppended } from '../core/llm/appended-prompts.ts'
import { changedBody } from '../core/llm/changed-body.ts'
import { isTable, type JsonObject } from '../core/llm/json.ts'
import { readJsonBody } from '../core/llm/json-body.ts'
import { detectProtocol, protocolNamed } from '../core/llm/protocols/detect.ts'
import { openaiChat } from '../core/llm/protocols/openai-chat.ts'
import { plugin } from '../core/plugin.ts'
import { reply } from '../core/reply.ts'

const prompts = {
  type: 'array',
  items: {
    type: 'object',
    properties: {
      role: { type: 'string', enum: ['system', 'user', 'assistant'] },
      content: { type: 'string', minLength: 1 },
    },
    required: ['role', 'content'],
    additionalProperties: true,
  },
} as const

export default plugin({
  name: 'ai-prompt-decorator',
  priority: 1070,
  version: 0.1,
  schema: {
    type: 'object',
    properties: {
      prepend: prompts,
      append: prompts,
      max_req_body_size: { type: 'integer', minimum: 1, default: 67_108_864 },
    },
    anyOf: [{ required: ['prepend'] }, { required: ['append'] }],
  },
  setup({ prepend: before = [], append: after = [], max_req_body_size }) {
    return {
      async rewrite(ctx) {
        const body = await readJsonBody(ctx, max_req_body_size, 400)
        if ('refusal' in body) return body.refusal
        const { json, bytes } = body
        if (!isTable(json)) return reply(400, { message: 'could not parse JSON request body: invalid JSON' })
        // A list has no place for messages.
        if (Array.isArray(json)) return undefined
        const name = detectProtocol(json, ctx.request.path)
        const protocol = (name && protocolNamed(name)) ?? openaiChat
        const own = json as JsonObject
        const decorated = protocol.withMessages(own, { before, after })
        if (decorated === own) return undefined
        ctx.body.replace(changedBody(bytes, own, decorated), decorated)
        noteAppended(ctx, after)
        return undefined
      },
    }
  },
})
