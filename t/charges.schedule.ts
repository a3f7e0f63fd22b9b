// Random calls to LLMs through ai-rate-limiting, ended in every way, while routes are edited; and what must be charged for them.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { promptEstimate } from '../core/llm/charge.ts'
import { estimateTokens } from '../core/llm/token-estimate.ts'
import { startGateway, type TestGateway } from './helpers/gateway.ts'
import { until } from './helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

/** How the provider answers; a client that `leaves` does so when it has seen all that there will be. */
const ENDS = [
  'whole',
  'streams',
  'fails',
  'cut before',
  'cut in text',
  'left before',
  'left in text',
  'stalls',
  'stalls in text',
] as const
const call = fc.record({
  end: fc.constantFrom(...ENDS),
  words: fc.integer({ min: 1, max: 60 }),
  completion: fc.integer({ min: 100, max: 200 }),
})

export const schedule = fc.record({
  admission: fc.constantFrom('check' as const, 'reserve' as const),
  /** Small enough to be met, with `reserve`, where every call costs at most what it may. */
  limit: fc.constantFrom(10 ** 9, 300),
  calls: fc.array(call, { minLength: 1, maxLength: 12 }),
  edits: fc.nat(3),
})
type Schedule = typeof schedule extends fc.Arbitrary<infer T> ? T : never
type Call = Schedule['calls'][number]

const MAX_TOKENS = 200
const PROMPT = 7
const HUGE = 10 ** 9
/** Behind it nothing comes. */
const LAST = 'green'

/** A gateway and a provider on which many schedules are played. */
export class Stage {
  readonly #gateway: TestGateway
  readonly #upstream: ScriptedUpstream
  #played = 0

  private constructor(gateway: TestGateway, upstream: ScriptedUpstream) {
    this.#gateway = gateway
    this.#upstream = upstream
  }

  static async open(): Promise<Stage> {
    return new Stage(await startGateway(), await startUpstream())
  }

  async close(): Promise<void> {
    await this.#gateway.close()
    await this.#upstream.close()
  }

  async play({ admission, limit, calls, edits }: Schedule): Promise<void> {
    const gateway = this.#gateway
    const name = `r${++this.#played}`
    const route = (uri: string, ms: number) => {
      const endpoint = `${this.#upstream.origin}/v1/chat/completions`
      const timeouts = { headers: ms, idle: ms }
      const aiProxy = { provider: 'openai-compatible', auth: {}, override: { endpoint }, timeouts }
      return { uri, plugins: { 'ai-proxy': aiProxy, 'ai-rate-limiting': { limit, time_window: 3_600, admission } } }
    }
    // What is to stall has little time, and all others have enough.
    const [calm, short] = [route(`/${name}/*`, 60_000), route(`/${name}s/*`, 60)]
    await gateway.put({ routes: { [name]: calm, [`${name}s`]: short } })
    assert.deepEqual(gateway.rejected, [])
    const arrived = calls.map(() => Promise.withResolvers<void>())
    this.#upstream.script = received => answer(received, calls, at => arrived[at]!.resolve())

    const asking = calls.map((each, at) => this.#ask(name, each, { at, arrived: arrived[at]!.promise }))
    for (let edit = 0; edit < edits; edit++) await gateway.put({ routes: { [name]: { ...calm, desc: `${edit}` } } })
    const passed = await Promise.all(asking)
    await until(() => gateway.gateway.inFlight === 0, 'every request has logged')

    for (const path of [name, `${name}s`]) {
      const here = calls
        .map((each, at) => ({ each, at }))
        .filter(({ each, at }) => pathOf(name, each) === path && passed[at])
      const least = here.reduce((sum, { each, at }) => sum + (each.end === 'stalls in text' ? 0 : costOf(each, at)), 0)
      const most = here.reduce((sum, { each, at }) => sum + costOf(each, at), 0)
      if (admission === 'reserve') assert.ok(least <= limit, `${least} were used of ${limit}`)
      if (limit !== HUGE) continue
      const used = HUGE - (await this.#remaining(path))
      assert.ok(used >= least && used <= most, `${used} are charged where ${least} to ${most} were used`)
    }
    const { opened, settled, released, live } = gateway.book.totals()['ai-rate-limiting']!
    assert.deepEqual([live, settled + released], [0, opened])
    await gateway.put({ routes: { [name]: null, [`${name}s`]: null } })
  }

  #post(path: string, body: object, signal?: AbortSignal): Promise<Response> {
    return fetch(`${this.#gateway.url}/${path}/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      ...(signal && { signal }),
    })
  }

  /** Whether the call was let pass; resolves when the client has seen what it wants of the answer. */
  async #ask(name: string, each: Call, { at, arrived }: { at: number; arrived: Promise<void> }): Promise<boolean> {
    const leaving = new AbortController()
    const asking = this.#post(pathOf(name, each), bodyOf(at, each), leaving.signal)
    if (each.end === 'left before') {
      const refused = await Promise.race([asking, arrived])
      leaving.abort()
      await asking.catch(() => {})
      return refused === undefined
    }
    const response = await asking
    if (response.status === 429) return false
    let text = ''
    try {
      for await (const piece of response.body!) {
        text += Buffer.from(piece).toString()
        if (each.end === 'left in text' && text.includes(LAST)) break
      }
    } catch {
      // It was cut.
    }
    leaving.abort()
    return true
  }

  /** As the next request is told; the provider fails it, so that it costs nothing. */
  async #remaining(path: string): Promise<number> {
    const response = await this.#post(path, { messages: [{ role: 'user', content: 'probe' }] })
    await response.text()
    return Number(response.headers.get('X-AI-RateLimit-Remaining-ai-proxy-openai-compatible'))
  }
}

const pathOf = (name: string, { end }: Call) => (end.startsWith('stalls') ? `${name}s` : name)
const textOf = ({ words }: Call) =>
  `${'What the lighthouse keeper saw was not '.repeat(words).slice(0, 6 * words)} ${LAST}`
const bodyOf = (at: number, { end }: Call) => ({
  messages: [{ role: 'user', content: `call ${at}` }],
  max_tokens: MAX_TOKENS,
  stream: /streams|text/.test(end),
})

/** What a call costs that was let pass, unless it stalls in its text too early to cost anything. */
function costOf(each: Call, at: number): number {
  if (each.end === 'whole' || each.end === 'streams') return PROMPT + each.completion
  if (!each.end.includes('in text')) return 0
  return promptEstimate(bodyOf(at, each), 'openai-chat') + estimateTokens([textOf(each)])
}

async function answer(received: Received, calls: readonly Call[], arrived: (at: number) => void): Promise<void> {
  const [, said] = /"call (\d+)"/.exec((await received.body).toString()) ?? []
  const at = Number(said)
  const each = calls[at]
  if (said === undefined || each === undefined || each.end === 'fails') return received.json(500, {})
  arrived(at)
  const usage = { prompt_tokens: PROMPT, completion_tokens: each.completion, total_tokens: PROMPT + each.completion }
  if (each.end === 'whole') return received.json(200, { choices: [], usage })
  if (each.end === 'cut before') return received.cut()
  if (each.end === 'left before' || each.end === 'stalls') return
  received.startStream()
  for (const piece of textOf(each).match(/.{1,40}(?=.* )| \w+$/gs)!) {
    await received.event({ choices: [{ index: 0, delta: { content: piece }, finish_reason: null }] })
  }
  if (each.end === 'cut in text') return received.cut()
  if (each.end !== 'streams') return
  await received.event({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] })
  await received.event({ choices: [], usage })
  await received.event('[DONE]')
  received.response.end()
}
