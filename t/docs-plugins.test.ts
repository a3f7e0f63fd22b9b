// docs/plugins.md: its examples fit the types that an editor shows, its commands run, and each plugin does what it says.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { importPlugins, pluginFiles } from '../core/plugin-code/load.ts'
import { offerSluice } from '../core/plugin-code/module-hooks.ts'
import type { Plugin } from '../core/sluice.ts'
import { openJournal } from './helpers/journal.ts'
import { configFolder, startProcess } from './helpers/process.ts'
import { randomness } from './helpers/randomness.ts'
import { type ScriptedUpstream, startGateway, startUpstream, type TestGateway, until } from './testing.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const run = promisify(execFile)
const register = pathToFileURL(join(root, 'core/plugin-code/register.ts')).href

/** Code blocks of the guide by the name of the file that their first line gives. */
const files = new Map(
  [
    ...readFileSync(join(root, 'docs/plugins.md'), 'utf8').matchAll(/^```[tj]s\n\/\/ ([\w-]+(?:\.\w+)+)\n(.*?)^```/gms),
  ].map(([, name, code]) => [name!, code!]),
)

function recut(text: string, random: (below: number) => number): string[] {
  const pieces: string[] = []
  for (let at = 0; at < text.length; ) {
    const end = at + 1 + random(20)
    pieces.push(text.slice(at, end))
    at = end
  }
  return pieces
}

describe('the guide to plugins', function () {
  this.timeout(120_000)
  let folder: string
  let plugins: ReadonlyMap<string, Plugin>
  let upstream: ScriptedUpstream
  let gateway: TestGateway | undefined

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'sluice-guide-'))
    for (const [name, code] of files) if (name !== 'app.ts') writeFileSync(join(folder, name), code)
    mkdirSync(join(folder, 'node_modules/a-published-plugin'), { recursive: true })
    writeFileSync(
      join(folder, 'node_modules/a-published-plugin/index.mjs'),
      `import { plugin } from 'sluice'
       export default plugin({ name: 'published', priority: 1, version: 1, schema: { type: 'object' }, setup: () => ({}) })`,
    )
    writeFileSync(join(folder, 'node_modules/a-published-plugin/package.json'), '{"exports": "./index.mjs"}')
    offerSluice()
    const loaded = await importPlugins(await pluginFiles([folder]))
    plugins = new Map(loaded.map(plugin => [plugin.name, plugin]))
  })
  after(() => rmSync(folder, { recursive: true }))
  beforeEach(async () => {
    upstream = await startUpstream()
  })
  afterEach(async () => {
    await gateway?.close()
    gateway = undefined
    await upstream.close()
  })

  /** A gateway with one route that has this plugin of the guide. */
  async function start(
    name: string,
    config: object = {},
    more: Parameters<typeof startGateway>[0] = {},
  ): Promise<string> {
    gateway = await startGateway({
      plugins: [plugins.get(name)!],
      ...more,
      resources: {
        routes: { 1: { uri: '/*', plugins: { [name]: config }, upstream: { nodes: upstream.nodes } } },
        ...more.resources,
      },
    })
    assert.deepEqual(gateway.rejected, [])
    return gateway.url
  }

  it('gives an editor types with one line', async () => {
    const tsconfig = /```json\n(.*?)```/s.exec(readFileSync(join(root, 'docs/plugins.md'), 'utf8'))![1]!
    writeFileSync(join(folder, 'tsconfig.json'), tsconfig.replace('/opt/sluice/', root))
    const tsc = () => run(join(root, 'node_modules/.bin/tsc'), ['--noEmit', '-p', folder])
    await tsc()
    const wrong = join(folder, 'wrong.ts')
    writeFileSync(wrong, files.get('opening-hours.ts')!.replace('hour >= from', 'hour.length >= from'))
    await assert.rejects(tsc(), ({ stdout }: { stdout: string }) => /wrong\.ts.*'length' does not exist/.test(stdout))
    rmSync(wrong)
  })

  it('tests a plugin with the command that it names', async () => {
    const { stdout } = await run('node', ['--import', register, '--test'], { cwd: folder })
    assert.match(stdout, /pass 1\n/)
  })

  it('mounts the gateway in an app', async () => {
    const app = join(folder, 'app')
    mkdirSync(join(app, 'plugins'), { recursive: true })
    symlinkSync(join(root, 'node_modules'), join(app, 'node_modules'))
    writeFileSync(join(app, 'plugins/opening-hours.ts'), files.get('opening-hours.ts')!)
    const listening =
      "app.listen(0, '127.0.0.1', function () { console.log((this.address() as { port: number }).port) })"
    writeFileSync(join(app, 'app.ts'), files.get('app.ts')!.replace('app.listen(3000)', listening))
    const child = spawn('node', ['--import', register, 'app.ts'], { cwd: app })
    try {
      let said = ''
      child.stdout.on('data', text => {
        said += text
      })
      await until(() => said.includes('\n') || child.exitCode !== null, 'the app listens')
      assert.equal(await (await fetch(`http://127.0.0.1:${said.trim()}/`)).text(), 'the app itself')
      // Closed, or nobody there: it depends on the hour.
      assert.ok([403, 502].includes((await fetch(`http://127.0.0.1:${said.trim()}/api/x`)).status))
    } finally {
      child.kill()
    }
  })

  it('loads a published plugin', () => assert.ok(plugins.has('published')))

  it('checks what a schema cannot say', () => {
    assert.equal(plugins.get('opening-hours')!.check!({ from: 9, to: 8 }), 'from must be before to')
    assert.equal(plugins.get('opening-hours')!.check!({ from: 8, to: 9 }), undefined)
  })

  it('knows consumers by their badge', async () => {
    const consumers = { ann: { username: 'ann', plugins: { badge: { number: '17' } } } }
    const url = await start('badge', {}, { resources: { consumers } })
    assert.equal((await fetch(url)).status, 401)
    assert.equal((await fetch(url, { headers: { 'x-badge': '18' } })).status, 401)
    assert.equal((await fetch(url, { headers: { 'x-badge': '17' } })).status, 200)
    assert.equal(upstream.received[0]!.headers['x-consumer-username'], 'ann')
  })

  it('moves a version from the path into a header', async () => {
    const url = await start('version-header')
    await fetch(`${url}/v2/users?a=b`)
    await fetch(`${url}/users`, { headers: { 'x-api-version': 'forged' } })
    assert.deepEqual(
      upstream.received.map(({ target, headers }) => [target, headers['x-api-version']]),
      [
        ['/users?a=b', '2'],
        ['/users', undefined],
      ],
    )
  })

  it('adds fields to answers that have none', async () => {
    upstream.script = received => received.json(200, {}, { 'x-frame-options': 'SAMEORIGIN' })
    const { headers } = await fetch(await start('no-sniff'))
    assert.deepEqual([headers.get('x-content-type-options'), headers.get('x-frame-options')], ['nosniff', 'SAMEORIGIN'])
  })

  it('masks addresses wherever a stream is cut, and lets the rest pass at once', async () => {
    const text = 'Ünser ann@example.com, or bob.b+c@mail.example.org. Done'
    for (const cut of Array.from({ length: text.length }, (_, at) => at)) {
      const filter = plugins.get('mask-mail')!.setup({}, {} as never).body_filter!(
        {} as never,
        {
          headers: new Headers({ 'content-type': 'text/event-stream' }),
        } as never,
      )!
      const bytes = Buffer.from(text)
      const parts = [
        filter(bytes.subarray(0, cut), false),
        filter(bytes.subarray(cut), false),
        filter(Buffer.alloc(0), true),
      ]
      assert.equal(Buffer.concat(parts as Buffer[]).toString(), 'Ünser ***, or ***. Done', `cut at ${cut}`)
    }
    upstream.script = async received => {
      received.startStream()
      await received.write('write to ann@exam')
    }
    const answer = await fetch(await start('mask-mail'))
    const reader = answer.body!.getReader()
    assert.equal(Buffer.from((await reader.read()).value!).toString(), 'write to ')
    const received = await upstream.request(0)
    await received.write('ple.com')
    received.response.end()
    let rest = ''
    for (let read = await reader.read(); !read.done; read = await reader.read())
      rest += Buffer.from(read.value).toString()
    assert.equal(rest, '***')
  })

  /** A route to an LLM that has this plugin of the guide. */
  async function startLlm(name: string, config: object): Promise<(stream: boolean) => Promise<Response>> {
    const endpoint = `${upstream.origin}/v1/chat/completions`
    const auth = { header: { Authorization: 'Bearer x' } }
    const llm = { provider: 'openai-compatible', auth, override: { endpoint } }
    gateway = await startGateway({
      plugins: [plugins.get(name)!],
      resources: { routes: { 1: { uri: '/*', plugins: { 'ai-proxy': llm, [name]: config } } } },
    })
    assert.deepEqual(gateway.rejected, [])
    const headers = { 'content-type': 'application/json' }
    return stream =>
      fetch(gateway!.url, { method: 'POST', headers, body: JSON.stringify({ stream, messages: [], model: 'm' }) })
  }
  const chunk = (content: string | undefined, finish: string | null = null) =>
    `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason: finish }] })}\n\n`
  /** What the client of a stream has read. */
  const textOf = async (answer: Response) =>
    [...(await answer.text()).matchAll(/"content":("(?:[^"\\]|\\.)*")/g)]
      .map(([, text]) => JSON.parse(text!) as string)
      .join('')

  it('masks addresses in answers of LLMs, however a stream is cut into events and into reads', async () => {
    const ask = await startLlm('mask-answers', {})
    const text = 'Ünser ann@example.com, or bob.b+c@mail.example.org'
    const random = randomness(8)
    for (let round = 0; round < 40; round++) {
      const events = recut(text, random).map(piece => chunk(piece))
      const bytes = Buffer.from([...events, chunk(undefined, 'stop'), 'data: [DONE]\n\n'].join(''))
      upstream.script = async received => {
        received.startStream()
        for (const piece of recut(bytes.toString('latin1'), random)) await received.write(Buffer.from(piece, 'latin1'))
        received.response.end()
      }
      assert.equal(await textOf(await ask(true)), 'Ünser ***, or ***', `round ${round}`)
    }
    upstream.script = received => received.json(200, { choices: [{ message: { content: text } }] })
    assert.equal(await textOf(await ask(false)), 'Ünser ***, or ***')
  })

  it('masks addresses in a stream that was converted for its client', async () => {
    await startLlm('mask-answers', {})
    upstream.script = async received => {
      received.startStream()
      for (const piece of ['write to ann@exam', 'ple.com', ' soon']) await received.write(chunk(piece))
      await received.write(`${chunk(undefined, 'stop')}data: [DONE]\n\n`)
      received.response.end()
    }
    const answer = await fetch(`${gateway!.url}/v1/messages`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'm', stream: true, max_tokens: 9, messages: [{ role: 'user', content: 'hi' }] }),
    })
    const events = (await answer.text()).matchAll(/^event: (\w+)\ndata: (.*)\n/gm)
    const seen = [...events].map(([, name, data]) => [
      name,
      (JSON.parse(data!) as { delta?: { text?: string } }).delta?.text,
    ])
    assert.equal(seen.map(([, text]) => text ?? '').join(''), 'write to *** soon')
    const names = seen.map(([name]) => name)
    assert.ok(names.lastIndexOf('content_block_delta') < names.indexOf('content_block_stop'))
  })

  it('ends an answer that speaks of what it should not', async () => {
    const ask = await startLlm('no-secrets', { words: ['falcon'] })
    upstream.script = received => received.json(200, { choices: [{ message: { content: 'The Falcon flies' } }] })
    assert.equal((await ask(false)).status, 403)
    upstream.script = async received => {
      received.startStream()
      for (const piece of ['The fal', 'con flies']) await received.write(chunk(piece))
    }
    assert.match(await (await ask(true)).text(), /"code":"secret"/)
    upstream.script = received => received.json(200, { choices: [{ message: { content: 'The eagle flies' } }] })
    assert.equal((await ask(false)).status, 200)
  })

  it('keeps small answers for a while, and none that is for somebody', async () => {
    let clock = 1_000_000
    const url = await start('small-cache', { seconds: 10 }, { now: () => clock })
    upstream.script = received => received.json(200, { of: received.target })
    const get = async (path: string, headers = {}) => {
      const answer = await fetch(url + path, { headers })
      return [answer.headers.get('x-cache'), ((await answer.json()) as { of: string }).of]
    }
    assert.deepEqual(await get('/a'), [null, '/a'])
    assert.deepEqual(await get('/a'), ['hit', '/a'])
    assert.deepEqual(await get('/b'), [null, '/b'])
    assert.deepEqual(await get('/a', { authorization: 'Bearer x' }), [null, '/a'])
    clock += 10_000
    assert.deepEqual(await get('/a'), [null, '/a'])
    assert.equal(upstream.received.length, 4)
  })

  it('limits requests at once, and gives back what they took however they end', async () => {
    upstream.script = () => {}
    const url = await start('in-flight', { most: 1 })
    const gone = new AbortController()
    const first = fetch(url, { signal: gone.signal }).catch(() => {})
    await upstream.request(0)
    const second = await fetch(url)
    assert.deepEqual([second.status, second.headers.get('retry-after')], [429, '1'])
    gone.abort()
    await first
    await until(() => gateway!.book.totals().in_flight?.live === 0, 'it is given back')
    upstream.script = received => received.json(200, {})
    assert.equal((await fetch(url)).status, 200)
    assert.match(gateway!.scrape(), /in_flight_refused_total 1/)
  })

  it('lets in who is known to one of several plugins', async () => {
    const consumers = {
      ann: { username: 'ann', plugins: { badge: { number: '17' } } },
      bob: { username: 'bob', plugins: { 'key-auth': { key: 'bobs' } } },
    }
    const config = { plugins: { 'key-auth': { header: 'x-key' }, badge: {} } }
    const url = await start('any-of', config, {
      plugins: [plugins.get('any-of')!, plugins.get('badge')!],
      resources: { consumers },
    })
    assert.equal((await fetch(url)).status, 401)
    assert.equal((await fetch(url, { headers: { 'x-badge': '17' } })).status, 200)
    assert.equal((await fetch(url, { headers: { 'x-key': 'bobs' } })).status, 200)
    assert.deepEqual(
      upstream.received.map(({ headers }) => headers['x-consumer-username']),
      ['ann', 'bob'],
    )
  })

  it('answers at an endpoint of its own, where a route exposes it', async () => {
    const text = /```json\n(\{ "uri": "\/internal\/hits".*?)```/s.exec(
      readFileSync(join(root, 'docs/plugins.md'), 'utf8'),
    )![1]!
    const url = await start(
      'hits',
      {},
      {
        resources: { consumers: { bob: { username: 'bob', plugins: { 'key-auth': { key: 'bobs' } } } } },
      },
    )
    await gateway!.put({ routes: { exposed: JSON.parse(text) as Record<string, unknown> } })
    await fetch(`${url}/a`)
    await until(() => gateway!.gateway.inFlight === 0, 'it is counted')
    assert.equal((await fetch(`${url}/internal/hits`)).status, 401)
    const answer = await fetch(`${url}/internal/hits`, { headers: { apikey: 'bobs' } })
    assert.deepEqual([answer.status, await answer.json()], [200, { 1: 1 }])
    assert.equal((await fetch(`${url}/plugins/hits`)).headers.get('server'), 'APISIX/3.18.0')
    assert.deepEqual(
      upstream.received.map(({ target }) => target),
      ['/a', '/plugins/hits'],
    )
  })

  it('runs the functions of its route', async () => {
    const text = /```json\n(\{\n {2}"uri": "\/reports.*?)```/s.exec(
      readFileSync(join(root, 'docs/plugins.md'), 'utf8'),
    )![1]!
    const route = { ...(JSON.parse(text) as object), upstream: { nodes: upstream.nodes } }
    gateway = await startGateway({ javascript: { timeout: 5_000, heapMb: 64 }, resources: { routes: { 1: route } } })
    assert.deepEqual(gateway.rejected, [])
    const ask = (init: RequestInit) => fetch(`${gateway!.url}/reports/2026`, init)
    assert.equal((await ask({})).status, 404)
    const headers = { 'x-tenant': 'eu-1' }
    assert.equal((await ask({ headers, method: 'DELETE' })).status, 405)
    assert.equal((await ask({ headers })).status, 200)
    assert.deepEqual(
      upstream.received.map(({ target }) => target),
      ['/2026'],
    )
  })

  it('limits requests per minute exactly, over all workers of a gateway that has every plugin of the guide', async () => {
    const plugins = mkdtempSync(join(tmpdir(), 'sluice-guide-plugins-'))
    for (const [name, code] of files) if (!/^(app|published)|test/.test(name)) writeFileSync(join(plugins, name), code)
    const process = await startProcess(
      configFolder(`sluice:\n  plugin_dirs: ["${plugins}"]\n`, { nginx_config: 'worker_processes: 3' }),
    )
    try {
      const route = { uri: '/*', plugins: { 'per-minute': { requests: 5 } }, upstream: { nodes: upstream.nodes } }
      assert.equal((await process.admin('PUT', '/routes/1', route)).status, 201)
      // A connection each, so that all workers have some.
      const ask = () => fetch(process.urls.requests, { headers: { connection: 'close' } })
      const answers = await Promise.all(Array.from({ length: 30 }, ask))
      assert.equal(upstream.received.length, 5)
      const refused = answers.find(({ status }) => status === 429)!
      assert.ok(Number(refused.headers.get('retry-after')) <= 60)
    } finally {
      await process.dispose()
      rmSync(plugins, { recursive: true })
    }
  })

  it('tells of slow requests', async () => {
    const { log, lines } = openJournal()
    const url = await start('slow-log', { ms: 0 }, { log })
    await fetch(url)
    await until(() => lines.length > 0, 'it is logged')
    assert.deepEqual([lines[0]!.message, lines[0]!.fields.route, lines[0]!.fields.status], ['slow request', '1', 200])
  })
})
