// Asks an embeddings API what texts mean (facts ai-plugins 7.6): with the operator's credentials, and nothing of the client's.
import type { Context } from '../../core/context.ts'
import { UpstreamError } from '../../core/errors.ts'
import { errandTo, Sidecar, type SidecarAnswer } from '../../core/llm/sidecar.ts'
import type { Env } from '../../core/plugin.ts'
import type { Config } from './config.ts'
import { EmbeddingError, readEmbeddings, type Vector } from './vectors.ts'

type Written = NonNullable<Config['semantic_opts']>['embeddings']

const OPENAI = 'https://api.openai.com/v1/embeddings'
const KEEP_ALIVE = { size: 30, idleMs: 60_000, requests: 0 }
// 64 examples of 3,072 numbers each are 4 MB.
const MAX_ANSWER = 64 * 1024 * 1024

export class Embeddings {
  readonly #sidecar: Sidecar
  readonly #place: ReturnType<typeof errandTo>
  /** Undefined where the endpoint names it. */
  readonly #model: string | undefined

  constructor({ provider, model, endpoint = OPENAI, auth, timeout, ssl_verify }: Written, env: Env) {
    const { header = {}, query = {} } = auth as Record<'header' | 'query', Record<string, string> | undefined>
    this.#place = errandTo(endpoint, header, query)
    this.#model = provider === 'azure-openai' ? undefined : model
    const options = { timeoutMs: timeout, verify: ssl_verify, keepAlive: KEEP_ALIVE, maxBytes: MAX_ANSWER }
    this.#sidecar = new Sidecar('ai-proxy-multi', env, options)
  }

  /** The vectors of these texts. Throws EmbeddingError, whose message may be logged, and ClientGone when that of `ctx` leaves. */
  async of(texts: readonly string[], ctx?: Context): Promise<Vector[]> {
    const asked = { ...(this.#model !== undefined && { model: this.#model }), input: texts }
    const { status, body } = await this.#ask(Buffer.from(JSON.stringify(asked)), ctx)
    if (status !== 200) throw new EmbeddingError(`embedding endpoint returned status ${status}`)
    try {
      return readEmbeddings(body, texts.length)
    } catch (error) {
      this.#sidecar.failed('malformed')
      throw error
    }
  }

  async #ask(body: Buffer, ctx: Context | undefined): Promise<SidecarAnswer> {
    try {
      return await this.#sidecar.ask(ctx, { ...this.#place, body })
    } catch (error) {
      if (error instanceof UpstreamError) throw new EmbeddingError(`embedding request failed: ${error.message}`)
      throw error
    }
  }
}
