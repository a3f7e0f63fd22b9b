// Filters of the events of an LLM's answer, at the front door.
import assert from 'node:assert/strict'
import { filteredAnswer } from '../../../core/llm/filtered-answer.ts'
import { openaiChat } from '../../../core/llm/protocols/openai-chat.ts'
import {
  type EventFilter,
  type Exchange,
  HeaderList,
  type Plugin,
  plugin,
  Refused,
  type Source,
} from '../../../core/sluice.ts'
import { startGateway, type TestGateway } from '../../helpers/gateway.ts'
import { until } from '../../helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'

const chunk = (content: string, finish: string | null = null) => ({
  id: 'c1',
  choices: [{ index: 0, delta: { content }, finish_reason: finish }],
})
const frame = (data: unknown) => `data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`
const usage = { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 }

describe('filters of events', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  let calls: Exchange[]

  beforeEach(async () => {
    upstream = await startUpstream()
    calls = []
  })
  afterEach(async () => {
    await until(() => gateway.gateway.inFlight === 0, 'every request has logged')
    await gateway.close()
    await upstream.close()
  })

  const filtering = (name: string, priority: number, open: () => EventFilter): Plugin =>
    plugin({
      name,
      priority,
      version: 1,
      schema: { type: 'object' },
      setup: () => ({
        event_filter(_ctx, call) {
          calls.push(call)
          return open()
        },
      }),
    })

  async function start(
    opens: readonly (() => EventFilter)[],
    { endpoint = '/v1/chat/completions', hookTimeout = 60_000 } = {},
  ): Promise<void> {
    const plugins = opens.map((open, at) => filtering(`filter-${at}`, 100 - at, open))
    gateway = await startGateway({
      plugins,
      limits: { hookTimeout },
      resources: {
        routes: {
          1: {
            uri: '/*',
            plugins: {
              'ai-proxy': {
                provider: 'openai-compatible',
                auth: { header: { Authorization: 'Bearer operator' } },
                override: { endpoint: `${upstream.origin}${endpoint}` },
              },
              ...Object.fromEntries(plugins.map(({ name }) => [name, {}])),
            },
          },
        },
      },
    })
    assert.deepEqual(gateway.rejected, [])
  }

  const ask = (stream = true, init: RequestInit = {}) =>
    fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ stream, stream_options: stream ? { include_usage: true } : undefined, messages: [] }),
      ...init,
    })

  /** Streams these bytes and ends. */
  const streams =
    (...pieces: string[]) =>
    async (received: Received) => {
      received.startStream()
      for (const piece of pieces) await received.write(piece)
      received.response.end()
    }

  const whole = [frame(chunk('a')), ': ping\n\n', `id: 1\n${frame(chunk('b', 'stop'))}`, frame('[DONE]')].join('')

  it('see every event with data once, and change no byte when they say nothing', async () => {
    const seen: (string | undefined)[] = []
    await start([
      () => event => {
        seen.push(event === undefined ? 'end' : event.json === undefined ? event.data : event.text)
      },
    ])
    for (const cut of [1, 7, 40, whole.length]) {
      upstream.script = streams(...(whole.match(new RegExp(`[^]{1,${cut}}`, 'g')) ?? []))
      assert.equal(await (await ask()).text(), whole)
      assert.deepEqual(seen.splice(0), ['a', 'b', '[DONE]', 'end'])
    }
  })

  it('replace, drop and add events, in the order of their priority', async () => {
    upstream.script = streams(whole)
    await start([
      () => event => {
        if (event?.json === undefined) return
        return event.text === 'a' ? [event, event.mapTexts(() => 'x')] : [event]
      },
      () => event => {
        if (event?.json === undefined) return
        return event.text === 'a' ? [] : [event.mapTexts(text => `${text}${text}`)]
      },
    ])
    const text = await (await ask()).text()
    assert.deepEqual(text.match(/"content":"\w*"/g), ['"content":"xx"', '"content":"bb"'])
    assert.ok(text.endsWith(frame('[DONE]')))
  })

  it('hold events back until they decide, also at the end of the stream', async () => {
    await start([
      () => event => (event === undefined ? undefined : 'hold'),
      () => (event, held) => {
        if (event === undefined) return
        return held.length < 2 ? 'hold' : [...held, event].toReversed()
      },
    ])
    upstream.script = streams(frame(chunk('a')), frame(chunk('b')), frame(chunk('c', 'stop')), frame('[DONE]'))
    const text = await (await ask()).text()
    assert.deepEqual(text.match(/"content":"\w*"|\[DONE\]/g), [
      '"content":"c"',
      '"content":"b"',
      '"content":"a"',
      '[DONE]',
    ])
  })

  it('hold no more than a MiB, after which the answer ends', async () => {
    await start([() => () => 'hold'])
    const large = chunk('x'.repeat(300_000))
    upstream.script = streams(...[1, 2, 3, 4].map(() => frame(large)), frame('[DONE]'))
    const answer = await ask()
    assert.deepEqual([answer.status, ((await answer.json()) as { code: string }).code], [500, 'internal_error'])
  })

  it('refuse with a status before anything has left, in the words of the protocol', async () => {
    await start([
      () => event => {
        if (event?.text === 'a') throw new Refused(403, 'not_allowed', 'not this')
      },
    ])
    upstream.script = async received => {
      received.startStream()
      await received.write(frame(chunk('a')))
    }
    const answer = await ask()
    assert.deepEqual([answer.status, answer.headers.get('content-type')], [403, 'application/json'])
    const { error } = (await answer.json()) as { error: { code: string; message: string } }
    assert.deepEqual([error.code, error.message], ['not_allowed', 'not this'])
    await until(() => upstream.received[0]!.gone, 'the provider is hung up on')
  })

  it('refuse with an error event after that, and without an end', async () => {
    await start([
      () => event => {
        if (event?.text === 'b') throw new Refused(403, 'not_allowed', 'not this')
      },
    ])
    upstream.script = async received => {
      received.startStream()
      await received.write(frame(chunk('a')))
    }
    const answer = await ask()
    const received = await upstream.request(0)
    const reader = answer.body!.getReader()
    assert.equal(Buffer.from((await reader.read()).value!).toString(), frame(chunk('a')))
    await received.write(frame(chunk('b')))
    let rest = ''
    for (let read = await reader.read(); !read.done; read = await reader.read())
      rest += Buffer.from(read.value).toString()
    assert.match(rest, /^data: \{"error":\{"message":"not this".*"code":"not_allowed"\}\}\n\n$/)
    await until(() => received.gone, 'the provider is hung up on')
    assert.equal(calls[0]!.aborted, 'filtered')
  })

  it('end the answer when they throw, rather than to let it pass', async () => {
    await start([
      () => () => {
        throw new Error('a bug')
      },
    ])
    upstream.script = streams(whole)
    const answer = await ask()
    assert.equal(answer.status, 500)
    assert.doesNotMatch(await answer.text(), /a bug|"a"/)
    assert.match(gateway.scrape(), /sluice_plugin_failures_total\{plugin="filter-0"[^\n]* 1\n/)
  })

  it('may take their time, within bounds, and the order stays', async () => {
    const turns: (() => void)[] = []
    await start([
      () => event => (event === undefined ? undefined : new Promise(resolve => turns.push(() => resolve()))),
    ])
    upstream.script = streams(whole)
    const answered = ask().then(answer => answer.text())
    for (let turn = 0; turn < 3; turn++) {
      await until(() => turns.length > turn, 'it is asked')
      turns[turn]!()
    }
    assert.equal(await answered, whole)
  })

  it('are not waited for without end', async () => {
    await start([() => () => new Promise(() => {})], { hookTimeout: 300 })
    upstream.script = streams(whole)
    const answer = await ask()
    assert.deepEqual([answer.status, ((await answer.json()) as { code: string }).code], [500, 'plugin_timeout'])
  })

  it('see a whole answer as one event', async () => {
    await start([() => event => (event?.whole ? [event.mapTexts(text => text.toUpperCase())] : undefined)])
    upstream.script = received =>
      received.json(200, { choices: [{ index: 0, message: { content: 'grün' }, finish_reason: 'stop' }], usage })
    const answer = await ask(false)
    const body = (await answer.json()) as { choices: { message: { content: string } }[]; usage: object }
    assert.deepEqual([body.choices[0]!.message.content, body.usage], ['GRÜN', usage])
    assert.equal(calls[0]!.usage?.total, 7)
  })

  it('see no errors of the provider', async () => {
    await start([() => () => []])
    upstream.script = received => received.json(400, { error: { message: 'no' } })
    assert.deepEqual(await (await ask(false)).json(), { error: { message: 'no' } })
  })

  it('take nothing from the books: usage counts whatever they drop', async () => {
    await start([() => event => (event?.json === undefined ? undefined : [])])
    upstream.script = streams(frame(chunk('a', 'stop')), frame({ id: 'c1', choices: [], usage }), frame('[DONE]'))
    assert.equal(await (await ask()).text(), frame('[DONE]'))
    assert.equal(calls[0]!.usage?.total, 7)
  })

  it('let go of the provider when the client leaves', async () => {
    await start([() => event => (event === undefined ? undefined : 'hold')])
    upstream.script = async received => {
      received.startStream()
      await received.write(frame(chunk('a')))
    }
    const gone = new AbortController()
    const asked = ask(true, { signal: gone.signal }).catch(() => {})
    const received = await upstream.request(0)
    gone.abort()
    await asked
    await until(() => received.gone, 'the provider is hung up on')
    assert.equal(calls[0]!.aborted, 'client_disconnect')
  })

  it('refuse a stream whose events they could not see', async () => {
    await start([])
    const body: Source = { pipe: () => assert.fail('it is read'), pause() {}, resume() {}, cancel() {} }
    const headers = new HeaderList(['Content-Type', 'application/vnd.amazon.eventstream'])
    const filtered = filteredAnswer(
      { status: 200, headers, body, source: 'upstream' },
      { protocol: openaiChat, filters: [() => undefined], within: promise => promise, enter() {}, failed() {} },
    )
    await assert.rejects(filtered, { status: 501, code: 'texts_unknown' })
  })

  it('refuse to look for texts that nobody knows', async () => {
    await start([() => event => void event?.text], { endpoint: '/v1/rerank' })
    upstream.script = received => received.json(200, { results: [] })
    const answer = await fetch(`${gateway.url}/v1/rerank`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"query":"a"}',
    })
    assert.deepEqual([answer.status, ((await answer.json()) as { code: string }).code], [501, 'texts_unknown'])
  })
})
