// Plugins of the user's own in the gateway as a process: a file, a route, and it runs; saved, and the new code runs.
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { configFolder, type GatewayProcess, run, startProcess } from '../../helpers/process.ts'
import { until } from '../../helpers/until.ts'
import { reloadUnderLoad } from './reload.ts'

/** A plugin that answers with `text` and the config's `word`. */
const answering = (text: string, more = '') => `
import { plugin, reply } from 'sluice'
export default plugin({
  name: 'answers', priority: 100, version: 1,
  schema: { type: 'object', properties: { word: { type: 'string', default: 'hello' } ${more} } },
  check: ({ word }) => (word === 'no' ? 'that is no word' : undefined),
  metadata: { type: 'object', properties: { limit: { type: 'number' } } },
  checkMetadata: ({ limit }) => (limit === 7 ? 'not seven' : undefined),
  setup: ({ word }: { word: string }) => ({ access: () => reply(200, '${text} ' + word) }),
})
`

describe("plugins of the user's own", function () {
  this.timeout(180_000)
  let folder: string
  let gateway: GatewayProcess | undefined

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'sluice-plugins-'))
  })
  afterEach(async () => {
    await gateway?.dispose()
    gateway = undefined
    rmSync(folder, { recursive: true })
  })

  const save = (name: string, text: string) => writeFileSync(join(folder, name), text)
  const config = (more = '') => configFolder(`sluice:\n  plugin_dirs: ["${folder}"]\n${more}`)
  async function start(more = ''): Promise<GatewayProcess> {
    gateway = await startProcess(config(more))
    return gateway
  }
  const get = async (path: string, headers = {}): Promise<string> =>
    (await fetch(`${gateway!.urls.requests}${path}`, { headers })).text()
  const status = async () =>
    (await fetch(`${gateway!.urls.control}/v1/config/status`)).json() as Promise<{ plugins: { fault?: string } }>
  const log = () => readFileSync(join(gateway!.folder, 'error.log'), 'utf8')

  it('run on a route at once, with types, helpers and packages, and are listed with their schema', async () => {
    mkdirSync(join(folder, 'lib'))
    save('lib/words.ts', `export const word: string = 'from a helper'\n`)
    save(
      'typed.ts',
      answering('typed')
        .replace("'typed '", 'word2 + ": "')
        .replace('import', 'import { word as word2 } from "./lib/words.ts"\nimport'),
    )
    mkdirSync(join(folder, 'node_modules/published'), { recursive: true })
    save('node_modules/published/package.json', '{"name": "published", "type": "module", "exports": "./index.js"}')
    save(
      'node_modules/published/index.js',
      answering('published')
        .replaceAll(/: \{ word: string \}/g, '')
        .replace("'answers'", "'published'")
        .replace('100', '99'),
    )
    save('published.js', `export { default } from 'published'\n`)
    save('typed.test.ts', 'throw new Error("tests are no plugins")')
    const { admin } = await start()
    const names = (await admin('GET', '/plugins/list')).body as string[]
    assert.ok(names.includes('answers') && names.includes('published') && names.includes('key-auth'))
    const schema = (await admin('GET', '/schema/plugins/answers')).body as { properties: object }
    assert.deepEqual(Object.keys(schema.properties), ['word', '_meta'])
    const put = (name: string, conf: object) => admin('PUT', '/routes/1', { uri: '/1', plugins: { [name]: conf } })
    assert.equal((await put('answers', { word: 'you' })).status, 201)
    assert.equal(await get('/1'), 'from a helper: you')
    await put('published', {})
    assert.equal(await get('/1'), 'published hello')
    const refused = await put('answers', { word: 7 })
    assert.equal(refused.status, 400)
    assert.match(JSON.stringify(refused.body), /property .*word.* wrong type: expected string, got number/)
    const unchecked = await put('answers', { word: 'no' })
    assert.equal(unchecked.status, 400)
    assert.match(JSON.stringify(unchecked.body), /answers err: that is no word/)
    const seven = await admin('PUT', '/plugin_metadata/answers', { limit: 7 })
    assert.deepEqual([seven.status, /not seven/.test(JSON.stringify(seven.body))], [400, true])
  })

  it('know consumers by a credential, as built-in authentication does', async () => {
    save(
      'badge.ts',
      `
import { plugin, reply } from 'sluice'
export default plugin({
  name: 'badge', priority: 2500, version: 1, type: 'auth',
  schema: { type: 'object' },
  consumer: { type: 'object', properties: { number: { type: 'string' } }, required: ['number'] },
  credential: ({ number }) => number.trim(),
  encrypt: ['number'],
  setup: () => ({
    rewrite(ctx) {
      const consumer = ctx.consumers.find('badge', ctx.request.headers.get('badge') ?? '')
      if (consumer === undefined) return reply(401, { message: 'no badge' })
      ctx.identify(consumer)
    },
    access: ctx => reply(200, ctx.consumer!.username),
  }),
})
`,
    )
    const { admin } = await start()
    await admin('PUT', '/routes/1', { uri: '/1', plugins: { badge: {} } })
    await admin('PUT', '/consumers', { username: 'ann', plugins: { badge: { number: '17 ' } } })
    assert.equal(await get('/1', { badge: '17' }), 'ann')
    assert.equal(JSON.parse(await get('/1', { badge: '18' })).message, 'no badge')
    const twice = await admin('PUT', '/consumers', { username: 'bob', plugins: { badge: { number: ' 17' } } })
    assert.match(JSON.stringify(twice.body), /duplicate key of plugin badge found with consumer: ann/)
  })

  it('are replaced when a file is saved that one of them imports, within a second', async () => {
    mkdirSync(join(folder, 'lib'))
    save('lib/text.ts', `export const text = 'old'\n`)
    save(
      'a.ts',
      answering('').replace('import', 'import { text } from "./lib/text.ts"\nimport').replace("' '", 'text + " "'),
    )
    const { admin } = await start()
    await admin('PUT', '/routes/1', { uri: '/1', plugins: { answers: {} } })
    assert.equal(await get('/1'), 'old hello')
    const saved = performance.now()
    save('lib/text.ts', `export const text = 'new'\n`)
    await until(async () => (await get('/1')) === 'new hello', 'the new code answers')
    const took = performance.now() - saved
    // 0.4 s on a free machine.
    assert.ok(took < 10_000, `it took ${took} ms`)
    save('b.ts', answering('second').replace("'answers'", "'second'").replace('100', '101'))
    const isListed = async () => ((await admin('GET', '/plugins/list')).body as string[]).includes('second')
    await until(isListed, 'a new file is a new plugin')
  })

  it('stay as they were when the files do not load, and say why, until they are mended', async () => {
    save('a.ts', answering('old'))
    const { admin } = await start()
    await admin('PUT', '/routes/1', { uri: '/1', plugins: { answers: {} } })
    const broken: Record<string, RegExp> = {
      '\nexport default {': /a\.ts: does not load: .*xpected.* \(.*a\.ts:\d\)/,
      'throw new Error("not today")': /a\.ts: does not load: not today \(.*a\.ts:1/,
      'export const a = 1': /a\.ts: has no plugin as its default export/,
      'import "./gone.ts"': /a\.ts: does not load: .*gone\.ts/,
      [answering('old').replace("type: 'object'", "type: 'objet'")]: /a\.ts: its schema is not usable: .*type/,
      [answering('old').replace('setup:', 'handlers: [], setup:')]: /a\.ts: a plugin has no attribute handlers/,
      [answering('old').replace('answers', 'key-auth')]: /key-auth is the name of a plugin of Sluice/,
      [answering('old').replace('setup:', 'endpoints: [{ path: "/a" }], setup:')]: /its endpoints is not a list of/,
      'process.exit(3)': /ended with code 3/,
    }
    for (const [text, reason] of Object.entries(broken)) {
      save('a.ts', text)
      const answer = await admin('PUT', '/plugins/reload')
      assert.equal(answer.status, 400, text)
      assert.match((answer.body as { error_msg: string }).error_msg, reason)
      assert.match((await status()).plugins.fault ?? '', reason)
      assert.equal(await get('/1'), 'old hello')
    }
    assert.match(log(), /plugins could not be reloaded; those in use stay/)
    const endpoint = `endpoints: [{ methods: ['GET'], path: '/own', answer: () => reply(200, 'own') }], setup:`
    save('a.ts', answering('mended').replace('setup:', endpoint))
    await until(async () => (await get('/1')) === 'mended hello', 'the mended code answers')
    await until(async () => (await status()).plugins.fault === undefined, 'nothing is wrong any more')
  })

  it('stay as they were when a stored config would not fit them any more', async () => {
    save('a.ts', answering('old'))
    const { admin } = await start()
    await admin('PUT', '/routes/1', { uri: '/1', plugins: { answers: { word: 'you' } } })
    save('a.ts', answering('new').replace("default: 'hello'", 'maxLength: 2'))
    const refused = await admin('PUT', '/plugins/reload')
    assert.equal(refused.status, 400)
    assert.match(JSON.stringify(refused.body), /routes\/1 is not valid for it: .*string too long/)
    assert.equal(await get('/1'), 'old you')
    rmSync(join(folder, 'a.ts'))
    const gone = await admin('PUT', '/plugins/reload')
    assert.match(JSON.stringify(gone.body), /routes\/1 is not valid for it: unknown plugin \[answers\]/)
    assert.equal(await get('/1'), 'old you')
    await admin('DELETE', '/routes/1')
    assert.equal((await admin('PUT', '/plugins/reload')).status, 200)
    assert.ok(!((await admin('GET', '/plugins/list')).body as string[]).includes('answers'))
  })

  it('run as they were checked in a worker that takes the place of a dead one, whatever is on disk by then', async () => {
    save(
      'a.ts',
      answering('old')
        .replace("'old '", "ctx.request.path === '/die' ? process.exit(3) : 'old '")
        .replace('access: ()', 'access: (ctx)'),
    )
    const { admin } = await start()
    await admin('PUT', '/routes/1', { uri: '/*', plugins: { answers: {} } })
    save('a.ts', 'nonsense (')
    await until(async () => (await status()).plugins.fault !== undefined, 'the save is noticed')
    await fetch(`${gateway!.urls.requests}/die`).catch(() => {})
    await until(() => log().includes('a worker has ended; it is being replaced'), 'the worker is gone')
    await until(
      () =>
        get('/1').then(
          text => text === 'old hello',
          () => false,
        ),
      'the next worker serves',
    )
  })

  it('let requests in flight end on the code they began with', async () => {
    const slow = (text: string) =>
      answering(text)
        .replace('access: ()', 'access: async (ctx)')
        .replace('reply(200', '(await ctx.body.bytes(100), reply)(200')
    save('a.ts', slow('old'))
    const { admin } = await start()
    await admin('PUT', '/routes/1', { uri: '/1', plugins: { answers: {} } })
    let finish: (() => void) | undefined
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(Buffer.from('begin'))
        finish = () => controller.close()
      },
    })
    const first = fetch(`${gateway!.urls.requests}/1`, { method: 'POST', body, duplex: 'half' } as RequestInit)
    save('a.ts', slow('new'))
    await until(async () => (await get('/1')) === 'new hello', 'the new code answers')
    finish!()
    assert.equal(await (await first).text(), 'old hello')
  })

  it('are reloaded under load without a request that fails', async () => {
    const rounds = 3
    const { requests, refused, stale, broken } = await reloadUnderLoad(rounds)
    assert.deepEqual([refused, stale], [{}, 0])
    assert.ok(requests > 100)
    // A worker that hands over may lose one connection that waits to be accepted.
    assert.ok(broken <= 2 * rounds * availableParallelism(), `${broken} connections were cut`)
  })

  it('that hold the loop up cost their worker, and are named in log and metrics', async () => {
    save('a.ts', answering('').replace('access: ()', 'access: () => { for (;;); }, close: ()'))
    save('b.ts', answering('free').replace("'answers'", "'free'").replace('100', '101'))
    const { admin, urls } = await start('  worker_stall_ms: 1000\n')
    await admin('PUT', '/routes/1', { uri: '/1', plugins: { answers: {} } })
    await admin('PUT', '/routes/2', { uri: '/2', plugins: { free: {} } })
    await fetch(`${urls.requests}/1`).catch(() => {})
    await until(
      () => /"plugin":"answers","route":"1".*a worker stood still/.test(log()),
      'the plugin is blamed',
      120_000,
    )
    await until(
      () =>
        get('/2').then(
          text => text === 'free hello',
          () => false,
        ),
      'another worker serves',
    )
    const counted = 'sluice_worker_replacements_total{reason="stalled",plugin="answers"} 1'
    const page = async () => (await fetch(`${urls.prometheus}/apisix/prometheus/metrics`)).text()
    await until(async () => (await page()).includes(counted), 'the replacement is counted')
  })

  it('keep the gateway from starting when they do not load, in one line that names the file', async () => {
    save('a.ts', 'nonsense (')
    const { file } = config()
    const { code, stderr } = await run(['--config', file])
    assert.equal(code, 1)
    assert.equal(stderr.trim().split('\n').length, 1, stderr)
    assert.match(stderr, /config\.yaml:\d+: sluice\.plugin_dirs: .*a\.ts: does not load: /)
  })

  it('are off unless the list of plugins names them, and are told when their priority is that of another', async () => {
    save('a.ts', answering('a').replace('100', '2500'))
    save('b.ts', answering('b').replace("'answers'", "'other'"))
    const { admin } = await start('plugins: [answers, key-auth]\n')
    assert.deepEqual(((await admin('GET', '/plugins/list')).body as string[]).sort(), ['answers', 'key-auth'])
    assert.match(log(), /"plugins":\["(key-auth|answers)","(key-auth|answers)"\],"priority":2500,.*same priority/)
  })
})
