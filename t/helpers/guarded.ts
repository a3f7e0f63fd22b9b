// A route to a model with a guard on it, and the service that the guard asks: both do as a test says.
import assert from 'node:assert/strict'
import type { Logger } from '../../core/observe/log.ts'
import { silent } from '../../core/observe/log.ts'
import { startGateway, type TestGateway } from './gateway.ts'
import { until } from './until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from './upstream.ts'

/** What a client has by which it could be known; no guard may ever see any of it. */
export const credentials = {
  authorization: 'Bearer of-the-client',
  cookie: 'session=of-the-client',
  'x-api-key': 'of-the-client',
  'x-client': 'of-the-client',
}

export interface Guarded {
  readonly provider: ScriptedUpstream
  readonly service: ScriptedUpstream
  readonly gateway: TestGateway
  /** Lines of the log: level and text. */
  readonly lines: string[]
  /** POSTs it as a client would, with all its credentials. */
  ask(path: string, body: object, init?: RequestInit): Promise<Response>
  /** How often a series of the guard's verdicts has been counted: `request deny`. */
  verdicts(): Record<string, number>
  close(): Promise<void>
}

export interface GuardedOptions {
  provider?: string
  /** Of the guard, once it is known where its service is; undefined for a route without ai-proxy's help. */
  plugins(service: string): Record<string, object>
  withoutProxy?: boolean
  keepAlive?: number
  now?: () => number
}

export async function startGuarded(options: GuardedOptions): Promise<Guarded> {
  const { provider: kind = 'openai-compatible' } = options
  const provider = await startUpstream()
  const service = await startUpstream()
  const lines: string[] = []
  const log: Logger = {
    ...silent,
    info: (_, text) => lines.push(`info ${text}`),
    warn: (_, text) => lines.push(`warn ${text}`),
    error: (_, text) => lines.push(`error ${text}`),
  }
  const proxy = {
    provider: kind,
    provider_conf: { region: 'us-east-1' },
    auth: kind === 'bedrock' ? { aws: { access_key_id: 'A', secret_access_key: 'S' } } : {},
    override: { endpoint: provider.origin },
    ...(kind === 'bedrock' && { options: { model: 'm' } }),
  }
  const route = options.withoutProxy
    ? { uri: '/*', plugins: options.plugins(service.origin), upstream: { nodes: provider.nodes } }
    : { uri: '/*', plugins: { 'ai-proxy': proxy, ...options.plugins(service.origin) } }
  const gateway = await startGateway({
    resources: { routes: { 1: route } },
    log,
    limits: { keepAlive: options.keepAlive },
    ...(options.now && { now: options.now }),
  })
  assert.deepEqual(gateway.rejected, [])
  return {
    provider,
    service,
    gateway,
    lines,
    ask: (path, body, init = {}) =>
      fetch(gateway.url + path, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...credentials },
        body: JSON.stringify(body),
        ...init,
      }),
    verdicts: () =>
      Object.fromEntries(
        [...gateway.scrape().matchAll(/sluice_guard_verdicts_total\{[^}]*side="(\w+)",verdict="(\w+)"\} (\d+)/g)].map(
          ([, side, verdict, count]) => [`${side} ${verdict}`, Number(count)],
        ),
      ),
    async close() {
      await until(() => gateway.gateway.inFlight === 0, 'every request has logged')
      await gateway.close()
      await provider.close()
      await service.close()
    },
  }
}

/** Fails when a guard's service has been told anything of the client's. */
export async function assertNothingOfTheClient(received: Received): Promise<void> {
  const head = received.rawHeaders.join('\n').toLowerCase()
  assert.doesNotMatch(head, /of-the-client|cookie|x-client|user-agent: node/)
  assert.doesNotMatch((await received.body).toString(), /of-the-client/)
}

/** Of one choice of a chat completion: a piece of its text, or its end. */
export function chunk(content: string | null, finish: string | null = null): string {
  const delta = content === null ? {} : { content }
  return `data: ${JSON.stringify({ id: 'c1', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`
}

export const done = 'data: [DONE]\n\n'

/** A stream that comes in these writes, and ends. */
export function streams(...pieces: readonly (string | Buffer)[]) {
  return async (received: Received): Promise<void> => {
    received.startStream()
    for (const piece of pieces) await received.write(piece)
    received.response.end()
  }
}

/** What a client reads in a stream of chat completions. */
export function textOf(stream: string): string {
  return [...stream.matchAll(/^data: (\{.*)$/gm)]
    .map(([, json]) => JSON.parse(json!) as { choices?: { delta: { content?: string } }[] })
    .map(({ choices }) => choices?.[0]?.delta.content ?? '')
    .join('')
}

export const whole = (content: string) => ({
  id: 'c1',
  object: 'chat.completion',
  created: 1,
  model: 'm',
  choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 },
})
