// A plugin that throws, or does not keep its promise, costs its own request an error: seen by the client, in log and metrics.
import assert from 'node:assert/strict'
import type { Logger } from '../../core/observe/log.ts'
import { type Hooks, plugin } from '../../core/plugin.ts'
import { reply } from '../../core/reply.ts'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { until } from '../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

const never = () => new Promise<never>(() => {})
const bug = () => {
  throw new Error('a bug of the plugin')
}

/** A plugin `p` with these hooks. */
const having = (hooks: Hooks) =>
  plugin({ name: 'p', priority: 10, version: 1, schema: { type: 'object' }, setup: () => hooks })

describe('a hook', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway | undefined
  let said: Record<string, unknown>[]

  beforeEach(async () => {
    upstream = await startUpstream()
    said = []
  })
  afterEach(async () => {
    await gateway?.close()
    await upstream.close()
  })

  async function start(hooks: Hooks, hookTimeout: number): Promise<string> {
    const log = (fields: object) => void said.push({ ...fields })
    const logger: Logger = { debug: log, info: log, warn: log, error: log }
    gateway = await startGateway({
      plugins: [having(hooks)],
      log: logger,
      limits: { hookTimeout },
      resources: {
        routes: {
          p: { uri: '/p', plugins: { p: {} }, upstream: { nodes: { [`127.0.0.1:${upstream.port}`]: 1 } } },
          free: { uri: '/free', upstream: { nodes: { [`127.0.0.1:${upstream.port}`]: 1 } } },
        },
      },
    })
    return gateway.url
  }

  async function failsOnce(reason: 'error' | 'timeout'): Promise<void> {
    const line = `sluice_plugin_failures_total{plugin="p",reason="${reason}"} 1`
    await until(() => gateway!.scrape().includes(line), 'the failure is counted')
    await until(() => gateway!.gateway.inFlight === 0, 'the request is over')
    assert.deepEqual(new Set(said.filter(({ err }) => err !== undefined).map(fields => fields.plugin)), new Set(['p']))
    assert.equal((await fetch(`${gateway!.url}/free`)).status, 200)
  }

  for (const phase of ['rewrite', 'access', 'before_proxy'] as const) {
    it(`of ${phase} that never settles ends its request with 500 when its time is over`, async () => {
      const url = await start({ [phase]: never }, 50)
      const answer = await fetch(`${url}/p`)
      assert.equal(answer.status, 500)
      assert.equal(((await answer.json()) as { code: string }).code, 'plugin_timeout')
      assert.equal(upstream.received.length, 0)
      await failsOnce('timeout')
    })

    for (const [what, hook] of [
      ['throws', bug],
      ['rejects', async () => bug()],
    ] as const) {
      it(`of ${phase} that ${what} ends its request with 500 and none of its words`, async () => {
        const url = await start({ [phase]: hook }, 60_000)
        const answer = await fetch(`${url}/p`)
        assert.equal(answer.status, 500)
        assert.ok(!(await answer.text()).includes('bug'))
        await failsOnce('error')
      })
    }
  }

  it('hears by its signal that its time is over, and what it returns then is let go', async () => {
    let cancelled: Error | undefined
    const cancel = (reason: Error): void => {
      cancelled = reason
    }
    const source = { pipe() {}, pause() {}, resume() {}, cancel }
    const late = (ctx: { signal: AbortSignal }) =>
      new Promise<ReturnType<typeof reply>>(resolve => {
        ctx.signal.addEventListener('abort', () => setTimeout(() => resolve({ ...reply(200), body: source }), 1))
      })
    const url = await start({ access: late }, 50)
    assert.equal((await fetch(`${url}/p`)).status, 500)
    await until(() => cancelled !== undefined, 'the late reply is let go')
  })

  it('that reads a body has the time that the client takes to send it', async () => {
    const reading = async (ctx: { body: { bytes(max: number): Promise<Buffer> } }) =>
      reply(200, await ctx.body.bytes(100))
    const url = await start({ access: reading }, 50)
    let finish: (() => void) | undefined
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(Buffer.from('slow'))
        finish = () => {
          controller.enqueue(Buffer.from('ly'))
          controller.close()
        }
      },
    })
    const asked = fetch(`${url}/p`, { method: 'POST', body, duplex: 'half' } as RequestInit)
    const began = performance.now()
    await until(() => performance.now() - began > 200, 'its time is over')
    finish!()
    const answer = await asked
    assert.deepEqual([answer.status, await answer.text()], [200, 'slowly'])
  })

  it('that filters a body and never settles breaks the response off when it has begun', async () => {
    upstream.script = async received => {
      received.startStream()
      await received.event('one')
    }
    const url = await start({ body_filter: () => never }, 50)
    const answer = await fetch(`${url}/p`)
    assert.equal(answer.status, 200)
    await assert.rejects(answer.text())
    await (await upstream.request(0)).closed
    await failsOnce('timeout')
  })

  it('that filters a whole body and never settles makes it a 500', async () => {
    const url = await start({ body_filter: () => never }, 50)
    const answer = await fetch(`${url}/p`)
    assert.equal(answer.status, 500)
    assert.equal(((await answer.json()) as { code: string }).code, 'plugin_timeout')
  })

  for (const phase of ['header_filter', 'body_filter', 'log'] as const) {
    it(`of ${phase} that throws leaves the response as it is`, async () => {
      const url = await start({ [phase]: bug }, 60_000)
      const answer = await fetch(`${url}/p`)
      assert.deepEqual(await answer.json(), { ok: true })
      await failsOnce('error')
    })
  }
})
