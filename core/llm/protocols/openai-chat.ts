// OpenAI's chat completions: what its bodies and answers say (facts ai-plugins 2.3); knows no provider and no bytes but JSON's.
import { isObject, type JsonObject } from '../json.ts'
import { appendMember, memberSpan, withMember } from '../json-splice.ts'
import { chatPrompts } from './openai-chat-prompts.ts'
import { ChatReader, chatUsage, isNonEmptyList } from './openai-chat-reader.ts'
import { BegunChat, chatRefusal } from './openai-chat-refusal.ts'
import { chatPieces, endsChatText, isChatEnd, mapChatTexts } from './openai-chat-texts.ts'
import { errorStatus, openaiErrorBody } from './openai-error.ts'
import type { Addition, AnswerFacts, Message, Protocol } from './protocol.ts'
import { saidMore } from './said.ts'

export const openaiChat: Protocol = {
  name: 'openai-chat',
  isStreaming: body => body.stream === true,
  usageRequest,
  asksForUsage: body => isObject(body.stream_options) && body.stream_options.include_usage === true,
  messages,
  prompts: chatPrompts,
  withMessages(body, { before, after }) {
    const own = Array.isArray(body.messages) ? body.messages : []
    return { ...body, messages: [...before, ...own, ...after] }
  },
  endUserId: body => [body.safety_identifier, body.user].find(id => typeof id === 'string'),
  answerFacts,
  said: ({ id, model, choices }) =>
    saidMore(undefined, {
      id,
      model,
      reasons: Array.isArray(choices) ? choices.filter(isObject).map(choice => choice.finish_reason) : [],
    }),
  openReader: (request, collectText, counting) => new ChatReader(request, collectText, counting),
  errorBody: openaiErrorBody,
  errorEvent: error => Buffer.from(`data: ${JSON.stringify(openaiErrorBody(error))}\n\n`),
  refusal: chatRefusal,
  openBegun: () => new BegunChat(),
  mapTexts: mapChatTexts,
  endsText: endsChatText,
  pieces: chatPieces,
  isAnswer: ({ choices }) => Array.isArray(choices),
  isEnd: isChatEnd,
}

function usageRequest(body: JsonObject): Addition | undefined {
  const own = body.stream_options
  if (body.stream !== true || openaiChat.asksForUsage(body)) return undefined
  // Of anything but an object or null the provider says itself what is wrong with it.
  if (own !== undefined && own !== null && !isObject(own)) return undefined
  const key = 'stream_options'
  const value = { ...own, include_usage: true }
  return {
    key,
    value,
    splice(bytes) {
      if (own === undefined) return appendMember(bytes, key, JSON.stringify(value))
      if (own === null) return withMember(bytes, key, JSON.stringify(value))
      const { start, end } = memberSpan(bytes, key)!
      return withMember(bytes, key, withMember(bytes.subarray(start, end), 'include_usage', 'true'))
    },
  }
}

/** Messages that carry text; other parts (images, audio) are not seen. */
function messages(body: JsonObject): Message[] {
  if (!Array.isArray(body.messages)) return []
  return body.messages.filter(isObject).flatMap(({ role, content }) => {
    const texts = Array.isArray(content)
      ? content
          .filter(isObject)
          .flatMap(part => (part.type === 'text' && typeof part.text === 'string' ? part.text : []))
      : typeof content === 'string'
        ? [content]
        : []
    return texts.length === 0 ? [] : { role: typeof role === 'string' ? role : '', content: texts.join(' ') }
  })
}

function answerFacts(answer: unknown): AnswerFacts {
  if (!isObject(answer)) return { usage: undefined, text: undefined, hasToolCalls: false }
  const choices = Array.isArray(answer.choices) ? answer.choices.filter(isObject) : []
  const { error } = answer
  const replies = choices.map(choice => choice.message).filter(isObject)
  return {
    usage: chatUsage(answer.usage),
    text:
      choices.length === 0
        ? undefined
        : replies.flatMap(({ content }) => (typeof content === 'string' ? content : [])).join(' '),
    hasToolCalls: replies.some(message => isNonEmptyList(message.tool_calls)),
    failed: choices.length === 0 && (isObject(error) || typeof error === 'string') ? errorStatus(error) : undefined,
  }
}
