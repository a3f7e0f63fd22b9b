// Amazon Comprehend, asked how toxic texts are (facts ai-plugins 16.2); knows no request.
import { type AwsCredentials, signature } from '../../core/llm/auth/aws.ts'
import { askService, MAX_ANSWER, type ServiceAnswer, ServiceError, useless } from '../../core/llm/guards/service.ts'
import { isObject, type JsonObject } from '../../core/llm/json.ts'
import { objects } from '../../core/llm/json-parts.ts'
import { errandTo, Sidecar, type Wisher } from '../../core/llm/sidecar.ts'
import type { Env } from '../../core/plugin.ts'

export interface ComprehendConfig {
  readonly comprehend: {
    readonly access_key_id: string
    readonly secret_access_key: string
    readonly session_token?: string
    readonly region: string
    readonly endpoint?: string
    readonly ssl_verify: boolean
  }
  readonly timeout: number
  readonly keepalive: boolean
  readonly keepalive_timeout: number
}

/** How toxic one text is: each score from 0 to 1. */
export interface Toxicity {
  readonly overall: number
  readonly labels: readonly { readonly name: string; readonly score: number }[]
}

/** Connections that are kept while nobody asks. */
const POOL = 30

export class Comprehend {
  readonly #url: URL
  readonly #credentials: AwsCredentials
  readonly #region: string
  readonly #sidecar: Sidecar
  readonly #now: () => number

  constructor(plugin: string, { comprehend, timeout, keepalive, keepalive_timeout }: ComprehendConfig, env: Env) {
    const { region, endpoint = `https://comprehend.${region}.amazonaws.com` } = comprehend
    this.#url = new URL('/', endpoint)
    this.#credentials = {
      accessKeyId: comprehend.access_key_id,
      secretAccessKey: comprehend.secret_access_key,
      sessionToken: comprehend.session_token,
    }
    this.#region = region
    this.#now = env.now
    this.#sidecar = new Sidecar(plugin, env, {
      timeoutMs: timeout,
      verify: comprehend.ssl_verify,
      keepAlive: keepalive && { size: POOL, idleMs: keepalive_timeout, requests: 0 },
      maxBytes: MAX_ANSWER,
    })
  }

  /** In the order of the texts, of which it takes ten. Rejects with ServiceError, or with what `wisher` was aborted with. */
  async judge(wisher: Wisher, texts: readonly string[]): Promise<Toxicity[]> {
    const segments = texts.map(text => ({ Text: text.toWellFormed() }))
    const body = Buffer.from(JSON.stringify({ LanguageCode: 'en', TextSegments: segments }))
    const { status, json } = await this.#ask(wisher, body)
    if (status !== 200) throw new ServiceError(`Comprehend returned status ${status}${faultOf(json)}`)
    const results = objects(isObject(json) ? json.ResultList : undefined)
    if (results.length === 0) throw useless(this.#sidecar, 'failed to get moderation results from response')
    return results.map(toxicityOf)
  }

  async #ask(wisher: Wisher, body: Buffer): Promise<ServiceAnswer> {
    const { host, href, protocol, hostname } = this.#url
    const headers = {
      'x-amz-target': 'Comprehend_20171127.DetectToxicContent',
      ...signature(
        { method: 'POST', host, target: '/', body },
        { credentials: this.#credentials, scope: { region: this.#region, service: 'comprehend' }, now: this.#now() },
      ),
    }
    try {
      return await askService(this.#sidecar, wisher, {
        ...errandTo(href, headers),
        contentType: 'application/x-amz-json-1.1',
        body,
      })
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error
      throw new ServiceError(`failed to send request to ${protocol}//${hostname}: ${error.message}`, { cause: error })
    }
  }
}

function toxicityOf({ Toxicity: overall, Labels: labels }: JsonObject): Toxicity {
  return {
    overall: typeof overall === 'number' ? overall : 0,
    labels: objects(labels).flatMap(({ Name: name, Score: score }) =>
      typeof name === 'string' && typeof score === 'number' ? { name, score } : [],
    ),
  }
}

/** What AWS calls what went wrong; its message may quote what was sent. */
function faultOf(json: unknown): string {
  const type = isObject(json) ? json.__type : undefined
  return typeof type === 'string' && /^[\w.#:/-]{1,128}$/.test(type) ? `, ${type}` : ''
}
