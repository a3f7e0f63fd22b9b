// ai-rag: what a search finds for the question of a client is added to what it says (facts ai-plugins 13); knows no model.
import type { Context } from '../core/context.ts'
import { GatewayError, UpstreamError } from '../core/errors.ts'
import { headerProblem } from '../core/llm/instance-config.ts'
import { isObject, type JsonObject, shallow, walk } from '../core/llm/json.ts'
import { aside, detectProtocol, protocolNamed } from '../core/llm/protocols/detect.ts'
import { openaiChat } from '../core/llm/protocols/openai-chat.ts'
import type { Protocol } from '../core/llm/protocols/protocol.ts'
import { tooDeep } from '../core/llm/shape-body.ts'
import { type Errand, errandTo, Sidecar } from '../core/llm/sidecar.ts'
import { endpointUrl } from '../core/llm/target.ts'
import { parsed } from '../core/llm/whole-body.ts'
import { plugin } from '../core/plugin.ts'
import { type Reply, reply } from '../core/reply.ts'
import { isReference } from '../core/schema.ts'

const service = {
  type: 'object',
  properties: { endpoint: { type: 'string' }, api_key: { type: 'string' } },
  required: ['endpoint', 'api_key'],
} as const

/** Milliseconds for each of the two calls. */
const TIMEOUT_MS = 30_000
const KEEP_ALIVE = { size: 30, idleMs: 60_000, requests: 0 }

export default plugin({
  name: 'ai-rag',
  priority: 1060,
  version: 0.1,
  schema: {
    type: 'object',
    properties: {
      embeddings_provider: {
        type: 'object',
        properties: { azure_openai: service },
        required: ['azure_openai'],
        maxProperties: 1,
      },
      vector_search_provider: {
        type: 'object',
        properties: { azure_ai_search: service },
        required: ['azure_ai_search'],
        maxProperties: 1,
      },
      ssl_verify: { type: 'boolean', default: true },
    },
    required: ['embeddings_provider', 'vector_search_provider'],
  },
  encrypt: ['embeddings_provider.azure_openai.api_key', 'vector_search_provider.azure_ai_search.api_key'],
  check({ embeddings_provider: { azure_openai }, vector_search_provider: { azure_ai_search } }) {
    return (
      problemOf('embeddings_provider.azure_openai', azure_openai) ??
      problemOf('vector_search_provider.azure_ai_search', azure_ai_search)
    )
  },
  setup(config, env) {
    const { log, owner } = env
    const { azure_openai: embedder } = config.embeddings_provider
    const { azure_ai_search: searcher } = config.vector_search_provider
    const [toEmbed, toSearch] = [embedder, searcher].map(({ endpoint, api_key }) => {
      if (!endpoint.startsWith('https://'))
        log.warn({ plugin: 'ai-rag', owner }, 'an endpoint is not https: its key goes over the network in clear')
      return errandTo(endpoint, { 'api-key': api_key })
    }) as [Omit<Errand, 'body'>, Omit<Errand, 'body'>]
    if (!config.ssl_verify) log.warn({ plugin: 'ai-rag', owner }, 'ssl_verify is off: keys go to whoever answers')
    const sidecar = new Sidecar('ai-rag', env, {
      timeoutMs: TIMEOUT_MS,
      verify: config.ssl_verify,
      keepAlive: KEEP_ALIVE,
    })

    function refused(ctx: Context, why: string, answer: Reply): Reply {
      log.error({ route: ctx.route?.id, request_id: ctx.id }, why)
      return answer
    }

    /** What a service says, or what the client is told when it says nothing of use. */
    async function told(ctx: Context, what: string, errand: Errand): Promise<Buffer | Reply> {
      try {
        const { status, body, contentType } = await sidecar.ask(ctx, errand)
        if (status === 200) return body
        const type = contentType === undefined ? {} : { 'Content-Type': contentType }
        return refused(ctx, `could not get ${what}: status ${status}`, reply(status, body, type))
      } catch (error) {
        if (!(error instanceof UpstreamError)) throw error
        return refused(ctx, `could not get ${what}: ${error.message}`, reply(500, error.message))
      }
    }

    return {
      async access(ctx) {
        const body = await jsonBody(ctx)
        if ('refusal' in body) return body.refusal
        const { ai_rag: asked, ...rest } = body.json
        if (asked === undefined) return refused(ctx, 'request body must have "ai-rag" field', reply(400))
        const wish = wishOf(asked)
        if (typeof wish === 'string') return refused(ctx, `request body fails schema check: ${wish}`, reply(400))
        const protocol = roomFor(rest, ctx.request.path)
        if (protocol === undefined)
          return reply(400, { message: 'ai-rag can add nothing to a request of this protocol' })

        const embedded = await told(ctx, 'embeddings', {
          ...toEmbed,
          body: Buffer.from(JSON.stringify(wish.embeddings)),
        })
        if (!Buffer.isBuffer(embedded)) return embedded
        const vector = vectorIn(embedded)
        if (vector === undefined) {
          sidecar.failed('malformed')
          return refused(ctx, 'could not get embeddings: there is none in the answer', reply(500, embedded))
        }
        const query = { vectorQueries: [{ kind: 'vector', vector, fields: wish.fields }] }
        const found = await told(ctx, 'vector_search result', { ...toSearch, body: Buffer.from(JSON.stringify(query)) })
        if (!Buffer.isBuffer(found)) return found
        const after = [{ role: 'user', content: found.toString('utf8') }]
        ctx.body.replace(Buffer.from(JSON.stringify(protocol.withMessages(rest, { before: [], after }))))
        return undefined
      },
    }
  },
})

/** The body as an object, or what APISIX answers where it is none (facts ai-plugins 1.3). */
async function jsonBody(ctx: Context): Promise<{ json: JsonObject } | { refusal: Reply }> {
  try {
    const bytes = await ctx.body.bytes(Number.POSITIVE_INFINITY)
    if (bytes.length === 0) return { refusal: reply(400, { message: 'could not get body: request body is empty' }) }
    const json = await ctx.body.json(Number.POSITIVE_INFINITY)
    shallow(() => walk(json), tooDeep)
    return { json: isObject(json) ? json : {} }
  } catch (error) {
    if (!(error instanceof GatewayError) || error.code !== 'body_not_json') throw error
    return { refusal: reply(400, { message: `could not parse JSON request body: ${error.message}` }) }
  }
}

interface Wish {
  /** As the embeddings service is asked. */
  readonly embeddings: JsonObject
  /** Where the search compares. */
  readonly fields: string
}

/** What the client wants looked for, or what is wrong with how it says so. */
function wishOf(asked: unknown): Wish | string {
  if (!isObject(asked)) return 'it is no object'
  const { embeddings, vector_search: search } = asked
  if (!isObject(embeddings) || typeof embeddings.input !== 'string') return 'embeddings must have an input'
  if (!isObject(search) || typeof search.fields !== 'string') return 'vector_search must have fields'
  return { embeddings, fields: search.fields }
}

/**
 * The protocol in which something can be added; undefined where there is no room. What says nothing by which it could be
 * known becomes a chat (facts ai-plugins 2.1), also where it has a model already: APISIX adds nothing then.
 */
function roomFor(body: JsonObject, path: string): Protocol | undefined {
  const name = detectProtocol(body, path)
  if (name === 'openai-embeddings' || aside(path) !== undefined) return undefined
  return name === undefined || name === 'passthrough' ? openaiChat : protocolNamed(name)
}

function vectorIn(answer: Buffer): unknown {
  const json = parsed(answer)
  const data = isObject(json) && Array.isArray(json.data) ? (json.data as unknown[]) : []
  return isObject(data[0]) ? data[0].embedding : undefined
}

function problemOf(
  name: string,
  { endpoint, api_key: key }: { endpoint: string; api_key: string },
): string | undefined {
  if (!isReference(endpoint) && endpointUrl(endpoint) === undefined) return `invalid ${name}.endpoint`
  return headerProblem({ [name]: key }) === undefined ? undefined : `invalid ${name}.api_key`
}
