// Instances of ai-proxy-multi under load for long, three of ten answers faulty: what clients see, and what the gateway keeps.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { Agent, request } from 'undici'
import { slope } from './bench/statistics.ts'
import { randomness } from './helpers/randomness.ts'
import { until } from './helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'
import type { Held, Order } from './llm-fallback.gateway.ts'
import { type Deed, NAMES, perform, readAnswer, textOf } from './llm-fallback.schedule.ts'

export interface FallbackLoadReport {
  requests: number
  /** Of what instances were asked, and how much of it went wrong there, of 1. */
  asked: number
  faulty: number
  /** What clients got. */
  whole: number
  errors: Record<string, number>
  left: number
  /** Answers that are neither one whole answer nor one honest error; the first few. */
  wrong: string[]
  edits: number
  /** Without garbage and resident, in MB, with the requests until then. */
  looks: { requests: number; used: number; resident: number }[]
  /** Growth behind the first third of the run, when everything is warm, in MB for every 100,000 requests; and of so many. */
  counted: number
  usedMb: number
  residentMb: number
  /** What there was more of at the end than before the first request, when nobody asks any more. */
  left_over: { sockets: number; timers: number; holds: readonly string[] }
}

const CLIENTS = 24
const LOOKS = 24
const MB = 1024 * 1024

/** `seed` says what goes wrong, and when. */
export async function fallbackLoad(seconds: number, seed: number): Promise<FallbackLoadReport> {
  const random = randomness(seed)
  const chance = (percent: number) => random(100) < percent
  const report = { requests: 0, asked: 0, faulty: 0, whole: 0, errors: {} as Record<string, number>, left: 0 }
  const wrong: string[] = []
  const down = new Set<string>()
  const upstreams: ScriptedUpstream[] = []
  for (const name of NAMES) upstreams.push(await startUpstream(received => answer(name, received)))
  const agent = new Agent({ connections: CLIENTS })
  const gateway = await Peer.start()
  const url = (await gateway.ask({ do: 'start' })) as string
  const look = () => gateway.ask({ do: 'look' }) as Promise<Held>
  const before = await look()
  let going = true
  let edits = 0

  async function answer(name: (typeof NAMES)[number], received: Received): Promise<void> {
    // Nobody looks at them later.
    upstreams[NAMES.indexOf(name)]!.received.length = 0
    if (received.target === '/health') return received.json(down.has(name) ? 500 : 200, {})
    report.asked++
    const streams = (await received.body).includes('"stream":true')
    const fault = down.has(name) ? 'reset' : chance(30) ? FAULTS[random(FAULTS.length)]! : undefined
    if (fault === undefined) return perform(name, { kind: chance(10) ? 'pings' : 'good' }, streams, received)
    report.faulty++
    if (fault === 'tired') {
      const error = { error: { message: 'tired', type: 'x' } }
      return received.json(429, error, { 'retry-after-ms': String(random(30)) })
    }
    if (fault === 'stall') {
      if (!streams) return
      received.startStream()
      return received.write(': ping\n\n')
    }
    if (fault === 'reset') return received.reset()
    const deed: Deed =
      typeof fault === 'number'
        ? { kind: 'status', status: fault, tired: false }
        : { kind: fault, at: [0, 1, 1, 2, 4][random(5)]! }
    return perform(name, deed, streams, received)
  }

  async function client(): Promise<void> {
    while (going) {
      const [streams, converted, leaves] = [chance(70), chance(30), chance(5)]
      const leaving = leaves ? AbortSignal.timeout(random(10)) : undefined
      report.requests++
      try {
        const { statusCode, headers, body } = await request(
          url + (converted ? '/v1/messages' : '/v1/chat/completions'),
          {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify({
              model: 'm',
              max_tokens: 9,
              messages: [{ role: 'user', content: 'hi' }],
              ...(streams && { stream: true }),
            }),
            dispatcher: agent,
            ...(leaving && { signal: leaving }),
          },
        )
        judge(statusCode, await body.text(), { type: String(headers['content-type']), converted })
      } catch (error) {
        if (leaving?.aborted) report.left++
        else note(`the client: ${String(error)}`)
      }
    }
  }

  function judge(status: number, text: string, { type, converted }: { type: string; converted: boolean }): void {
    try {
      const { said, ends, errors } = readAnswer(text, type, converted)
      const one = ends + errors === 1 && (status < 400 || errors === 1)
      const ofOne = NAMES.some(name => (ends === 1 ? textOf(name) === said : textOf(name).startsWith(said)))
      if (!one || !ofOne) return note(`${status} ${text}`)
      if (ends === 1) report.whole++
      else report.errors[status] = (report.errors[status] ?? 0) + 1
    } catch {
      note(`${status} ${text}`)
    }
  }

  function note(what: string): void {
    if (wrong.length < 20) wrong.push(what.slice(0, 1_000))
  }

  /** Every second one of the instances may fail or mend, and every fifth the config changes. */
  async function trouble(): Promise<void> {
    for (let second = 1; going; second++) {
      await delay(1_000)
      down.clear()
      if (chance(30)) down.add(NAMES[random(NAMES.length)]!)
      if (second % 5 === 0) await gateway.ask({ do: 'put', resources: resourcesFor(upstreams, ++edits) })
    }
  }

  try {
    await gateway.ask({ do: 'put', resources: resourcesFor(upstreams, 0) })
    const all = [...Array.from({ length: CLIENTS }, client), trouble()]
    const looks: FallbackLoadReport['looks'] = []
    for (let n = 0; n < LOOKS; n++) {
      await delay((seconds * 1_000) / LOOKS)
      const { used, resident } = await look()
      looks.push({
        requests: report.requests,
        used: Math.round((used / MB) * 100) / 100,
        resident: Math.round(resident / MB),
      })
    }
    going = false
    await Promise.all(all)
    const counted = looks.slice(LOOKS / 3)
    const grown = (of: 'used' | 'resident') =>
      Number(slope(counted.map(each => ({ x: each.requests / 100_000, y: each[of] }))).toFixed(3))
    await gateway.ask({ do: 'put', resources: { routes: { 1: null } } })
    await agent.close()
    for (const upstream of upstreams) await upstream.close()
    let after = await look()
    const same = async () => {
      after = await look()
      return after.inFlight === 0 && after.sockets <= before.sockets && after.timers <= before.timers
    }
    await until(same, 'nothing is under way', 10_000).catch(() => {})
    return {
      ...report,
      faulty: Number((report.faulty / report.asked).toFixed(3)),
      wrong,
      edits,
      looks,
      counted: looks.at(-1)!.requests - counted[0]!.requests,
      usedMb: grown('used'),
      residentMb: grown('resident'),
      left_over: {
        sockets: after.sockets - before.sockets,
        timers: after.timers - before.timers,
        holds: after.holds,
      },
    }
  } finally {
    going = false
    await gateway.close()
  }
}

const FAULTS = [400, 429, 500, 503, 'tired', 'stall', 'reset', 'cut', 'cut', 'end', 'error', 'junk'] as const

/** `edit` makes a config of it that differs from those before and after, and means nearly the same. */
function resourcesFor(upstreams: readonly ScriptedUpstream[], edit: number): object {
  const active = {
    http_path: '/health',
    healthy: { interval: 1, successes: 1 },
    unhealthy: { interval: 1, http_failures: 1, tcp_failures: 1 },
  }
  const instances = NAMES.map((name, at) => ({
    name,
    provider: 'openai-compatible',
    auth: {},
    weight: 1 + ((edit + at) % 3),
    override: { endpoint: upstreams[at]!.origin },
    checks: { active },
  }))
  const config = {
    instances,
    timeouts: { headers: 500, first_content: 500, idle: 2_000 },
    fallback_strategy: ['http_5xx', 'http_429'],
    fallback_http_statuses: [400],
    wait_for_capacity_ms: 50,
    logging: { summaries: true },
  }
  return { routes: { 1: { uri: '/*', plugins: { 'ai-proxy-multi': config, prometheus: {} } } } }
}

/** The process of the gateway: answers one order at a time. */
class Peer {
  readonly #child: ChildProcess
  #turn: Promise<unknown> = Promise.resolve()

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  static async start(): Promise<Peer> {
    const child = fork(new URL('./llm-fallback.gateway.ts', import.meta.url))
    await once(child, 'spawn')
    return new Peer(child)
  }

  ask(order: Order): Promise<unknown> {
    const answer = this.#turn.then(async () => {
      const said = once(this.#child, 'message')
      this.#child.send(order)
      return ((await said) as [unknown])[0]
    })
    this.#turn = answer.catch(() => {})
    return answer
  }

  async close(): Promise<void> {
    const gone = once(this.#child, 'exit')
    this.#child.send({ do: 'close' } satisfies Order)
    const patience = setTimeout(() => this.#child.kill('SIGKILL'), 10_000)
    await gone
    clearTimeout(patience)
  }
}
