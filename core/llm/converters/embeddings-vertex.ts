// OpenAI's embeddings from Vertex AI's predict (facts ai-plugins 4.6).
import { GatewayError, UpstreamError } from '../../errors.ts'
import { isObject, type JsonObject } from '../json.ts'
import { predictTokens } from '../protocols/vertex-predict.ts'
import type { Converter } from './converter.ts'

export const embeddingsVertex: Converter = {
  from: 'openai-embeddings',
  to: 'vertex-predict',
  open(body) {
    const { model, dimensions, encoding_format } = body
    const instances = textsOf(body).map(content => ({ content }))
    const parameters = typeof dimensions === 'number' ? { parameters: { outputDimensionality: dimensions } } : {}
    const asked = { model: typeof model === 'string' ? model : 'unknown', base64: encoding_format === 'base64' }
    return {
      body: { instances, ...parameters },
      response: (answer, status) => openaiAnswer(answer, status, asked),
      event: () => [],
      end: () => [],
    }
  },
}

function textsOf({ input }: JsonObject): string[] {
  if (input === undefined || input === null) throw refused('`input` is required for embeddings')
  if (typeof input === 'string') return [input]
  if (!Array.isArray(input)) throw refused('`input` must be string or array')
  return input.map((one: unknown, index) => {
    if (typeof one === 'string') return one
    // Tokens: Vertex knows only text.
    if (Array.isArray(one) && one.every(isToken)) return one.join(' ')
    throw refused(`unsupported input type at index ${index + 1}`)
  })
}

function isToken(token: unknown): boolean {
  return typeof token === 'number' || typeof token === 'string'
}

function refused(message: string): GatewayError {
  return new GatewayError(400, 'not_convertible', message)
}

function openaiAnswer(
  answer: unknown,
  status: number,
  { model, base64 }: { model: string; base64: boolean },
): JsonObject {
  if (status >= 400) return openaiError(answer, status)
  if (!isObject(answer) || !Array.isArray(answer.predictions)) {
    throw new UpstreamError('malformed', 'vertex response missing predictions')
  }
  const data = answer.predictions.map((prediction: unknown, index) => {
    const embeddings = isObject(prediction) ? prediction.embeddings : undefined
    const values = isObject(embeddings) ? embeddings.values : undefined
    if (!isVector(values)) throw new UpstreamError('malformed', `invalid embedding at index ${index + 1}`)
    return { object: 'embedding', index, embedding: base64 ? inBase64(values) : values }
  })
  const tokens = predictTokens(answer)
  return { object: 'list', data, model, usage: { prompt_tokens: tokens, total_tokens: tokens } }
}

function isVector(values: unknown): values is number[] {
  return Array.isArray(values) && values.every(value => typeof value === 'number')
}

/** 32-bit floats, the lowest byte first. */
function inBase64(values: readonly number[]): string {
  const bytes = Buffer.alloc(values.length * 4)
  values.forEach((value, index) => {
    bytes.writeFloatLE(value, index * 4)
  })
  return bytes.toString('base64')
}

/** Google's errors have a number for `code` and the name of it for `status`. */
function openaiError(answer: unknown, status: number): JsonObject {
  const said = Array.isArray(answer) && answer.length === 1 ? answer[0] : answer
  const error = isObject(said) && isObject(said.error) ? said.error : {}
  const message = typeof error.message === 'string' ? error.message : `the AI service answered with status ${status}`
  return { error: { message, type: 'api_error', param: null, code: error.status ?? error.code ?? null } }
}
