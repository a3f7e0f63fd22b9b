// Aliyun's text moderation, asked about one text (facts ai-plugins 15.3); knows no request.
import { createHmac, randomUUID } from 'node:crypto'
import { askService, MAX_ANSWER, ServiceError, useless } from '../../core/llm/guards/service.ts'
import { isObject } from '../../core/llm/json.ts'
import { objects } from '../../core/llm/json-parts.ts'
import { errandTo, Sidecar, type Wisher } from '../../core/llm/sidecar.ts'
import { strictEscape } from '../../core/llm/strict-escape.ts'
import type { Env } from '../../core/plugin.ts'

export interface AliyunConfig {
  readonly endpoint: string
  readonly region_id: string
  readonly access_key_id: string
  readonly access_key_secret: string
  readonly timeout: number
  readonly ssl_verify: boolean
  readonly keepalive: boolean
  readonly keepalive_pool: number
  readonly keepalive_timeout: number
}

export interface Question {
  /** What is to be judged, and as what: `llm_query_moderation`. */
  readonly content: string
  readonly service: string
  /** The same for all of one request. */
  readonly session: string
}

export interface Judgement {
  readonly level: string
  /** What Aliyun would answer in the model's place. */
  readonly answer: string | undefined
}

export class TextModeration {
  readonly #config: AliyunConfig
  readonly #sidecar: Sidecar
  readonly #now: () => number

  constructor(plugin: string, config: AliyunConfig, env: Env) {
    const { timeout, ssl_verify, keepalive, keepalive_pool, keepalive_timeout } = config
    this.#config = config
    this.#now = env.now
    this.#sidecar = new Sidecar(plugin, env, {
      timeoutMs: timeout,
      verify: ssl_verify,
      keepAlive: keepalive && { size: keepalive_pool, idleMs: keepalive_timeout, requests: 0 },
      maxBytes: MAX_ANSWER,
    })
  }

  /** Rejects with ServiceError, or with what `wisher` was aborted with. */
  async judge(wisher: Wisher, question: Question): Promise<Judgement> {
    const { status, json } = await askService(this.#sidecar, wisher, {
      ...errandTo(new URL('/', this.#config.endpoint).href, {}),
      contentType: 'application/x-www-form-urlencoded',
      body: Buffer.from(this.#form(question)),
    })
    if (status !== 200) throw new ServiceError(`Aliyun returned status ${status}`)
    if (!isObject(json)) throw useless(this.#sidecar, 'what Aliyun answers is no JSON object')
    const { Data: data, Code: code } = json
    if (!isObject(data) || typeof data.RiskLevel !== 'string')
      throw useless(this.#sidecar, `Aliyun names no risk level${typeof code === 'number' ? `, but code ${code}` : ''}`)
    const [advice] = objects(data.Advice)
    return { level: data.RiskLevel, answer: typeof advice?.Answer === 'string' ? advice.Answer : undefined }
  }

  #form({ content, service, session }: Question): string {
    const { access_key_id, access_key_secret, region_id } = this.#config
    return signedForm(
      {
        AccessKeyId: access_key_id,
        Action: 'TextModerationPlus',
        Format: 'JSON',
        RegionId: region_id,
        Service: service,
        ServiceParameters: JSON.stringify({ sessionId: session, content }),
        SignatureMethod: 'HMAC-SHA1',
        SignatureNonce: randomUUID(),
        SignatureVersion: '1.0',
        Timestamp: new Date(this.#now()).toISOString().replace(/\.\d+/, ''),
        Version: '2022-03-02',
      },
      access_key_secret,
    )
  }
}

/** A form with its signature: https://help.aliyun.com/document_detail/315526.html */
export function signedForm(parameters: Readonly<Record<string, string>>, secret: string): string {
  const pairs = Object.entries(parameters).map(([name, value]) => `${strictEscape(name)}=${strictEscape(value)}`)
  const form = pairs.sort().join('&')
  const signature = createHmac('sha1', `${secret}&`)
    .update(`POST&%2F&${strictEscape(form)}`)
    .digest('base64')
  return `${form}&Signature=${strictEscape(signature)}`
}
