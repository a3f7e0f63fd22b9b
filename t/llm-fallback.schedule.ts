// Random faults of several instances, and what the client and each of them may see of it.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { startGateway, type TestGateway } from './helpers/gateway.ts'
import { until } from './helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

export const NAMES = ['a', 'b', 'c'] as const

/** What an instance does; `at` is how many events of its stream have left by then. */
export type Deed =
  | { readonly kind: 'good' | 'pings' | 'reset' }
  | { readonly kind: 'status'; readonly status: number; readonly tired: boolean }
  | { readonly kind: 'cut' | 'end' | 'error' | 'junk'; readonly at: number }

const deed: fc.Arbitrary<Deed> = fc.oneof(
  fc.record({ kind: fc.constantFrom('good' as const, 'pings' as const, 'reset' as const) }),
  fc.record({
    kind: fc.constant('status' as const),
    status: fc.constantFrom(400, 401, 429, 429, 500, 503),
    tired: fc.boolean(),
  }),
  fc.record({
    kind: fc.constantFrom('cut' as const, 'end' as const, 'error' as const, 'junk' as const),
    at: fc.constantFrom(0, 1, 1, 2, 4),
  }),
)

export const schedule = fc.record({
  deeds: fc.tuple(deed, deed, deed),
  weights: fc.tuple(fc.constant(1), fc.constantFrom(0, 1, 1), fc.constantFrom(0, 1, 1)),
  streams: fc.boolean(),
  converted: fc.boolean(),
  strategy: fc.constantFrom<string[]>(
    ['http_5xx', 'http_429'],
    ['http_5xx'],
    ['rate_limiting', 'http_5xx'],
    ['http_429'],
    [],
  ),
  statuses: fc.constantFrom<number[]>([], [401]),
  retries: fc.constantFrom(undefined, undefined, 0, 1, 2),
})
type Run = typeof schedule extends fc.Arbitrary<infer R> ? R : never

const chunk = (delta: object, finish: string | null = null) =>
  JSON.stringify({ id: 'c', model: 'm', choices: [{ index: 0, delta, finish_reason: finish }] })
const pieces = (name: string) => [0, 1, 2].map(n => `${name}${n} `)
export const textOf = (name: string) => pieces(name).join('')
const eventsOf = (name: string) => [
  chunk({ role: 'assistant', content: '' }),
  ...pieces(name).map(content => chunk({ content })),
  chunk({}, 'stop'),
  '[DONE]',
]
const wholeOf = (name: string) => ({
  id: 'c',
  model: 'm',
  choices: [{ index: 0, message: { role: 'assistant', content: textOf(name) }, finish_reason: 'stop' }],
})

export async function perform(name: string, deed: Deed, streams: boolean, received: Received): Promise<void> {
  await received.body
  if (deed.kind === 'reset') return received.reset()
  if (deed.kind === 'status') {
    const headers: Record<string, string> = deed.tired ? { 'retry-after': '9' } : {}
    return received.json(deed.status, { error: { message: `${name} has failed`, type: 'x' } }, headers)
  }
  if (!streams) {
    if (deed.kind === 'good' || deed.kind === 'pings') return received.json(200, wholeOf(name))
    if (deed.kind === 'error') return received.json(200, { error: { message: `${name} has failed`, type: 'x' } })
    const whole = JSON.stringify(wholeOf(name))
    received.response.writeHead(200, { 'content-type': 'application/json', 'content-length': whole.length })
    await received.write(whole.slice(0, whole.length / 2))
    return received.reset()
  }
  received.startStream()
  const events = eventsOf(name)
  if (deed.kind === 'pings') for (let n = 0; n < 3; n++) await received.write(': ping\n\n')
  for (const event of 'at' in deed ? events.slice(0, deed.at) : events) await received.event(event)
  if (deed.kind === 'cut') return received.reset()
  if (deed.kind === 'error') await received.event({ error: { message: `${name} has failed`, type: 'x' } })
  if (deed.kind === 'junk') await received.write('data: {"choices":[{\n\n')
  received.response.end()
}

/** The status by which rules know a deed; 200 for what is good, undefined when content may have left by then. */
function statusOf(deed: Deed, streams: boolean): number | undefined {
  if (deed.kind === 'good' || deed.kind === 'pings') return 200
  if (deed.kind === 'status') return deed.status
  if ('at' in deed && streams && deed.at > 1) return undefined
  return deed.kind === 'error' ? 502 : 500
}

/** Who is asked, in order, and whose answer comes of it; undefined where that depends on what was read at once. */
function expected({ deeds, weights, streams, strategy, statuses, retries }: Run) {
  const asked: string[] = []
  for (const [at, name] of NAMES.entries()) {
    if (weights[at] === 0) continue
    asked.push(name)
    const status = statusOf(deeds[at]!, streams)
    if (status === undefined) return { asked, answer: undefined, sure: false }
    if (status === 200) return { asked, answer: name, sure: true }
    const good =
      statuses.includes(status) ||
      (strategy.includes('http_429') && status === 429) ||
      (strategy.includes('http_5xx') && status >= 500)
    if (!good || asked.length > (retries ?? 9)) break
  }
  return { asked, answer: undefined, sure: true }
}

/** The text of an answer, and whether it says that it is whole, or that it has failed. */
export function readAnswer(
  text: string,
  type: string,
  converted: boolean,
): { said: string; ends: number; errors: number } {
  if (!type.includes('event-stream')) {
    const json = JSON.parse(text) as {
      error?: unknown
      content?: { text: string }[]
      choices?: { message: { content: string } }[]
    }
    if (json.error !== undefined) return { said: '', ends: 0, errors: 1 }
    const said = converted ? json.content![0]!.text : json.choices![0]!.message.content
    return { said, ends: 1, errors: 0 }
  }
  const result = { said: '', ends: 0, errors: 0 }
  for (const event of text.split('\n\n')) {
    const data = /^data: (.*)$/m.exec(event)?.[1]
    if (data === undefined) continue
    if (data === '[DONE]') {
      result.ends++
      continue
    }
    const json = JSON.parse(data) as {
      type?: string
      error?: unknown
      delta?: { text?: string }
      choices?: { delta: { content?: string } }[]
    }
    if (json.error !== undefined) result.errors++
    if (json.type === 'message_stop') result.ends++
    result.said += json.delta?.text ?? json.choices?.[0]?.delta.content ?? ''
  }
  return result
}

/** A gateway and three instances on which many runs are played. */
export class Stage {
  readonly #gateway: TestGateway
  readonly #upstreams: readonly ScriptedUpstream[]
  #turn = 0

  private constructor(gateway: TestGateway, upstreams: readonly ScriptedUpstream[]) {
    this.#gateway = gateway
    this.#upstreams = upstreams
  }

  static async open(): Promise<Stage> {
    return new Stage(await startGateway(), await Promise.all(NAMES.map(() => startUpstream())))
  }

  async close(): Promise<void> {
    await this.#gateway.close()
    for (const upstream of this.#upstreams) await upstream.close()
  }

  get page(): string {
    return this.#gateway.scrape()
  }

  async #ask(run: Run): Promise<{ status: number; text: string; type: string }> {
    this.#turn++
    const instances = NAMES.map((name, at) => ({
      name,
      provider: 'openai-compatible',
      auth: {},
      weight: run.weights[at],
      priority: NAMES.length - at,
      override: { endpoint: this.#upstreams[at]!.origin },
      // Others than in the run before: nobody is at rest.
      options: { seed: this.#turn, [name]: true },
    }))
    const config = {
      instances,
      fallback_strategy: run.strategy,
      ...(run.statuses.length > 0 && { fallback_http_statuses: run.statuses }),
      ...(run.retries !== undefined && { max_retries: run.retries }),
    }
    await this.#gateway.put({ routes: { 1: { uri: '/*', plugins: { 'ai-proxy-multi': config } } } })
    assert.deepEqual(this.#gateway.rejected, [])
    for (const [at, upstream] of this.#upstreams.entries()) {
      upstream.received.length = 0
      upstream.script = received => perform(NAMES[at]!, run.deeds[at]!, run.streams, received)
    }
    const response = await fetch(`${this.#gateway.url}${run.converted ? '/v1/messages' : '/v1/chat/completions'}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        model: 'm',
        max_tokens: 9,
        messages: [{ role: 'user', content: 'hi' }],
        ...(run.streams && { stream: true }),
      }),
    })
    return { status: response.status, text: await response.text(), type: response.headers.get('content-type') ?? '' }
  }

  /** Throws what is not as it must be. */
  async play(run: Run): Promise<void> {
    const { asked, answer, sure } = expected(run)
    const { status, text, type } = await this.#ask(run)
    const { said, ends, errors } = readAnswer(text, type, run.converted)
    // One whole answer or one honest error, of one instance, and never both.
    assert.deepEqual([ends + errors, status >= 400 ? errors : 1], [1, 1])
    const speaker = NAMES.find(name => textOf(name).startsWith(said))
    assert.notEqual(speaker, undefined, `of nobody: ${said}`)
    if (ends === 1) assert.equal(said, textOf(said[0]!))
    if (sure) {
      assert.equal(ends === 1 ? said[0] : undefined, answer)
      if (answer === undefined) assert.equal(said, '')
    }
    const calls = this.#upstreams.map(({ received }) => received.length)
    assert.ok(
      calls.every((count, at) => count <= run.weights[at]!),
      'nobody is asked twice, or who must not be asked',
    )
    if (sure)
      assert.deepEqual(
        NAMES.filter((_, at) => calls[at] === 1),
        asked,
      )
    for (const [at, { received }] of this.#upstreams.entries()) {
      for (const each of received) {
        const sent = JSON.parse((await each.body).toString()) as Record<string, unknown>
        const others = NAMES.filter((_, other) => other !== at)
        assert.deepEqual([sent[NAMES[at]!], ...others.map(name => sent[name])], [true, undefined, undefined])
        assert.deepEqual(sent.messages, [{ role: 'user', content: 'hi' }])
      }
    }
    await until(() => this.#gateway.gateway.inFlight === 0, 'the request has logged')
    for (const [kind, { live }] of Object.entries(this.#gateway.book.totals())) assert.equal(live, 0, kind)
  }
}
