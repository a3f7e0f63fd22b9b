// Random schedules of plugins, exits and faults for the exactly-once property, and how one of them is played.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Context } from '../core/context.ts'
import { plugin } from '../core/plugin.ts'
import { reply } from '../core/reply.ts'
import { startDeafPort } from './helpers/deaf-port.ts'
import { startGateway, type TestGateway } from './helpers/gateway.ts'
import { connectRaw } from './helpers/raw-client.ts'
import { until } from './helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

/** What a hook of the chaos plugin does. A turn hook may leave a hold open, settle it, or release it as well. */
const TURN = ['pass', 'later', 'exit', 'throw', 'reject'] as const
const HOLD = ['none', 'open', 'settle', 'release', 'settle twice'] as const
const FILTER = ['none', 'same', 'later', 'grow', 'throw', 'reject'] as const
const RESPONSE = ['pass', 'throw'] as const
const LOG = ['pass', 'later', 'throw', 'reject'] as const

const UPSTREAM = [
  'answers',
  'streams',
  'answers 429',
  'answers 500',
  'refuses',
  'does not accept',
  'resets before headers',
  'cuts before headers',
  'lies',
  'stalls before headers',
  'stalls before content',
  'pings before content',
  'stalls in the body',
  'resets in the body',
  'cuts in the body',
  'drips for ever',
] as const

const CLIENT = [
  'waits',
  'leaves before headers',
  'leaves in the body',
  'leaves while uploading',
  'resets before headers',
] as const

const hooks = fc.record({
  rewrite: fc.constantFrom(...TURN),
  access: fc.constantFrom(...TURN),
  before_proxy: fc.constantFrom(...TURN),
  hold: fc.constantFrom(...HOLD),
  header_filter: fc.constantFrom(...RESPONSE),
  body_filter: fc.constantFrom(...FILTER),
  log: fc.constantFrom(...LOG),
})
const calm = fc.constant({
  rewrite: 'pass',
  access: 'pass',
  before_proxy: 'pass',
  hold: 'open',
  header_filter: 'pass',
  body_filter: 'none',
  log: 'pass',
} as const)

const request = fc.record({
  route: fc.constantFrom('plain', 'ai', 'nowhere'),
  upstream: fc.constantFrom(...UPSTREAM),
  client: fc.oneof({ weight: 3, arbitrary: fc.constant('waits' as const) }, fc.constantFrom(...CLIENT)),
  stream: fc.boolean(),
})

export const schedule = fc.record({
  global: fc.oneof({ weight: 2, arbitrary: calm }, hooks),
  route: fc.oneof({ weight: 2, arbitrary: calm }, hooks),
  /** Sent over one connection each, one after the other, or all at once behind each other. */
  connections: fc.array(
    fc.record({ pipelined: fc.boolean(), requests: fc.array(request, { minLength: 1, maxLength: 3 }) }),
    { minLength: 1, maxLength: 2 },
  ),
  shutdown: fc.boolean(),
})
type Value<A> = A extends fc.Arbitrary<infer T> ? T : never
export type Schedule = Value<typeof schedule>
type Hooks = Schedule['global'] | Schedule['route']
type Play = Schedule['connections'][number]['requests'][number]

/** The clocks of both routes; a fault that lasts is ended by one of them. */
const CLOCK_MS = 40

/** Counts everything that must happen once per request. */
class Ledger {
  readonly seen = new Set<Context>()
  readonly logged = new Map<Context, number>()
  readonly given = new Map<object, number>()
  /** What the gateway said of hooks that did not come back; no hook here stays away by itself. */
  readonly stuck: string[] = []

  debug(): void {}
  info(): void {}
  warn(): void {}
  error(_fields: object, message: string): void {
    if (message.includes('has not returned')) this.stuck.push(message)
  }
  rewrite(ctx: Context): void {
    this.seen.add(ctx)
  }
  logs(ctx: Context): void {
    this.logged.set(ctx, (this.logged.get(ctx) ?? 0) + 1)
  }
  hold(ctx: Context, how: Hooks['hold']): void {
    if (how === 'none') return
    const token = {}
    this.given.set(token, 0)
    const hold = ctx.hold('chaos', () => void this.given.set(token, this.given.get(token)! + 1))
    if (how === 'release') hold.release()
    if (how.startsWith('settle')) hold.settle(1)
    if (how === 'settle twice') hold.settle(1)
  }
}

/** What the books of a played schedule say; each line is a promise that was broken. */
export async function play(plan: Schedule): Promise<void> {
  const ledger = new Ledger()
  const upstream = await startUpstream(received => script(received))
  const deaf = plan.connections.some(({ requests }) => requests.some(({ upstream: how }) => how === 'does not accept'))
    ? await startDeafPort()
    : undefined
  const gateway = await startGateway({
    plugins: [chaos('chaos-global', ledger), chaos('chaos-route', ledger)],
    log: ledger,
    limits: { turnGrace: 5_000 },
    resources: {
      global_rules: { g: { plugins: { 'chaos-global': plan.global, prometheus: {} } } },
      routes: {
        ...routesTo('', upstream.port, plan.route),
        ...routesTo('/refused', 1, plan.route),
        ...routesTo('/deaf', deaf?.port ?? 1, plan.route),
      },
    },
  })
  try {
    assert.deepEqual(gateway.rejected, [])
    let left = plan.connections.length
    const clients = Promise.all(
      plan.connections.map(async connection => {
        await client(gateway, upstream, { ...connection, shutdown: plan.shutdown })
        left--
      }),
    )
    clients.catch(() => {})
    while (plan.shutdown && left > 0) {
      const begun = [...ledger.seen]
      await gateway.gateway.drain(CLOCK_MS)
      for (const ctx of begun) assert.ok(ledger.logged.has(ctx), 'a drain waits for what is in flight')
      await pause()
    }
    await clients
    await until(() => gateway.gateway.inFlight === 0, 'every request has logged')
    balance(ledger, gateway)
    await until(() => upstream.received.every(({ response }) => response.closed), 'no exchange is left at the upstream')
  } finally {
    await gateway.close()
    await upstream.close()
    await deaf?.close()
  }
}

function balance(ledger: Ledger, gateway: TestGateway): void {
  assert.deepEqual(ledger.stuck, [], 'every turn comes to its end')
  assert.equal(ledger.logged.size, ledger.seen.size, 'every request that began has logged')
  for (const times of ledger.logged.values()) assert.equal(times, 1, 'log runs once')
  for (const times of ledger.given.values()) assert.equal(times, 1, 'what was taken is given back once')
  for (const [kind, { opened, settled, released, live }] of Object.entries(gateway.book.totals())) {
    assert.equal(opened, settled + released + live, `the books of ${kind} balance`)
    assert.equal(live, 0, `nothing of ${kind} is live`)
  }
  for (const line of gateway.scrape().split('\n')) {
    if (line.startsWith('apisix_llm_active_connections{')) assert.match(line, / 0$/, line)
  }
}

function routesTo(prefix: string, port: number, config: Hooks): Record<string, Record<string, unknown>> {
  const seconds = CLOCK_MS / 1000
  return {
    [`plain${prefix.slice(1)}`]: {
      uri: `${prefix}/plain`,
      plugins: { 'chaos-route': config },
      upstream: {
        nodes: { [`127.0.0.1:${port}`]: 1 },
        retries: 0,
        timeout: { connect: seconds, send: seconds, read: seconds },
      },
    },
    [`ai${prefix.slice(1)}`]: {
      uri: `${prefix}/ai`,
      plugins: {
        'chaos-route': config,
        'ai-proxy': {
          provider: 'openai-compatible',
          auth: {},
          override: { endpoint: `http://127.0.0.1:${port}/v1/chat/completions` },
          timeouts: {
            connect: CLOCK_MS,
            headers: CLOCK_MS,
            first_content: CLOCK_MS,
            idle: CLOCK_MS,
            total: 5 * CLOCK_MS,
          },
        },
      },
    },
  }
}

// --- the upstream ------------------------------------------------------------------------------------------------------

async function script(received: Received): Promise<void> {
  const how = received.headers['x-upstream'] as Play['upstream']
  const stream = received.headers['x-stream'] === 'true'
  const chunk = { choices: [{ index: 0, delta: { content: 'word' }, finish_reason: null }] }
  const begin = () =>
    stream ? received.startStream() : received.response.writeHead(200, { 'content-type': 'application/json' })
  const piece = () => (stream ? received.event(chunk) : received.write('{"piece":'))
  switch (how) {
    case 'streams':
    case 'answers':
      await received.body
      if (!stream) return received.json(200, { choices: [{ message: { content: 'word' } }] })
      received.startStream()
      await received.event(chunk)
      await received.event('[DONE]')
      received.response.end()
      return
    case 'answers 429':
      return received.json(429, { error: { message: 'slow down' } }, { 'retry-after': '1' })
    case 'answers 500':
      return received.json(500, { error: { message: 'oops' } })
    case 'resets before headers':
      return received.reset()
    case 'cuts before headers':
      return received.cut()
    case 'lies':
      return received.lie('HTTP/1.1 two hundred\r\n\r\n')
    case 'stalls before content':
      begin()
      received.response.flushHeaders()
      return
    case 'pings before content':
      begin()
      while (!received.response.closed) {
        await received.write(stream ? ': ping\n\n' : ' ')
        await pause()
      }
      return
    case 'stalls in the body':
      begin()
      await piece()
      return
    case 'resets in the body':
      begin()
      await piece()
      return received.reset()
    case 'cuts in the body':
      begin()
      await piece()
      return received.cut()
    case 'drips for ever':
      begin()
      while (!received.response.closed) {
        await piece()
        await pause()
      }
      return
    default:
      // Stalls before headers, and whatever the gateway is not supposed to bring here.
      return
  }
}

/** Lets the sockets have their turn. */
const pause = () => new Promise(resolve => setTimeout(resolve, 2))

// --- the client --------------------------------------------------------------------------------------------------------

const BODY = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'hello' }] })
const STREAMED = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'hello' }], stream: true })

function message(step: Play): string {
  const { route, upstream, stream } = step
  const prefix = upstream === 'refuses' ? '/refused' : upstream === 'does not accept' ? '/deaf' : ''
  const body = stream ? STREAMED : BODY
  const length = step.client === 'leaves while uploading' ? body.length + 1_000 : body.length
  return `POST ${prefix}/${route} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Upstream: ${upstream}\r\nX-Stream: ${stream}\r\nContent-Length: ${length}\r\n\r\n${body}`
}

async function client(
  gateway: TestGateway,
  upstream: ScriptedUpstream,
  { pipelined, requests, shutdown }: Schedule['connections'][number] & { shutdown: boolean },
): Promise<void> {
  const manner = (step: Play) => (shutdown ? step.client : patience(step))
  const raw = await connectRaw(gateway.port)
  try {
    if (pipelined) raw.write(requests.map(message).join(''))
    for (const [at, step] of requests.entries()) {
      if (raw.closed) return
      if (!pipelined) raw.write(message(step))
      const known = upstream.received.length
      switch (manner(step)) {
        case 'waits':
          await until(() => raw.closed || complete(raw.received) > at, `response ${at} to ${JSON.stringify(step)}`)
          break
        case 'leaves before headers':
        case 'leaves while uploading':
        case 'resets before headers':
          await until(
            () =>
              raw.closed ||
              upstream.received.length > known ||
              gateway.gateway.inFlight > 0 ||
              complete(raw.received) > at,
            'the request has arrived',
          )
          if (manner(step) === 'resets before headers') raw.reset()
          else raw.close()
          return
        case 'leaves in the body':
          await until(() => raw.closed || raw.responses() > at, 'the response has begun')
          raw.close()
          return
      }
    }
  } finally {
    raw.close()
    await until(() => raw.closed, 'the client is closed')
  }
}

/** A plain upstream may send for ever, bytes being content there and nothing limiting the whole: the client ends that. */
function patience({ route, upstream, client: wanted }: Play): Play['client'] {
  const endless = upstream === 'drips for ever' || upstream === 'pings before content'
  return endless && route === 'plain' && wanted === 'waits' ? 'leaves in the body' : wanted
}

/** How many whole responses stand in a transcript of one connection. */
function complete(received: string): number {
  let rest = received
  for (let count = 0; ; count++) {
    const head = /^HTTP\/1\.1 \d{3} [\s\S]*?\r\n\r\n/.exec(rest)?.[0]
    if (head === undefined) return count
    rest = rest.slice(head.length)
    const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1]
    if (length !== undefined) {
      if (rest.length < Number(length)) return count
      rest = rest.slice(Number(length))
      continue
    }
    const end = rest.indexOf('0\r\n\r\n')
    if (end < 0) return count
    rest = rest.slice(end + 5)
  }
}

// --- the plugin --------------------------------------------------------------------------------------------------------

function chaos(name: string, ledger: Ledger) {
  return plugin({
    name,
    priority: name === 'chaos-global' ? 90_000 : 1_050,
    version: 0.1,
    schema: { type: 'object', properties: {} },
    setup(config) {
      const how = config as unknown as Hooks
      const turn = (phase: 'rewrite' | 'access' | 'before_proxy') => (ctx: Context) => {
        if (phase === 'rewrite' && name === 'chaos-global') ledger.rewrite(ctx)
        ledger.hold(ctx, how.hold)
        switch (how[phase]) {
          case 'later':
            return new Promise<void>(resolve => setImmediate(resolve))
          case 'exit':
            return reply(403, { message: `exit in ${phase}` })
          case 'throw':
            throw new Error(`thrown in ${phase}`)
          case 'reject':
            return Promise.reject(new Error(`rejected in ${phase}`))
          default:
            return undefined
        }
      }
      return {
        rewrite: turn('rewrite'),
        access: turn('access'),
        before_proxy: turn('before_proxy'),
        header_filter() {
          if (how.header_filter === 'throw') throw new Error('thrown in header_filter')
        },
        body_filter() {
          if (how.body_filter === 'none') return undefined
          return (chunk: Buffer) => {
            switch (how.body_filter) {
              case 'later':
                return new Promise<Buffer>(resolve => setImmediate(() => resolve(chunk)))
              case 'grow':
                return Buffer.concat([chunk, Buffer.from(' ')])
              case 'throw':
                throw new Error('thrown in body_filter')
              case 'reject':
                return Promise.reject(new Error('rejected in body_filter'))
              default:
                return chunk
            }
          }
        },
        log(ctx) {
          if (name === 'chaos-global') ledger.logs(ctx)
          switch (how.log) {
            case 'later':
              return new Promise<void>(resolve => setImmediate(resolve))
            case 'throw':
              throw new Error('thrown in log')
            case 'reject':
              return Promise.reject(new Error('rejected in log'))
            default:
              return undefined
          }
        },
      }
    },
  })
}
