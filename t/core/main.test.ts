// The gateway as a process: how it starts, what it says, how it ends.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { configFolder, type GatewayProcess, run, startProcess } from '../helpers/process.ts'
import { until } from '../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

/** Processes that it has begun. */
function childrenOf(parent: number): number[] {
  const pids = readdirSync('/proc').filter(name => /^\d+$/.test(name))
  return pids.map(Number).filter(pid => statusOf(pid)?.parent === parent)
}

/** Nobody may be there to take note of its end. */
function isAlive(pid: number): boolean {
  return !['Z', undefined].includes(statusOf(pid)?.state)
}

function statusOf(pid: number): { state: string; parent: number } | undefined {
  try {
    const [, state, parent] = /^\d+ \(.*\) (\S) (\d+)/s.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? []
    return { state: state!, parent: Number(parent) }
  } catch {
    return undefined
  }
}

describe('the gateway process', function () {
  this.timeout(180_000)
  let upstream: ScriptedUpstream
  const started: GatewayProcess[] = []

  beforeEach(async () => {
    upstream = await startUpstream()
  })
  afterEach(async () => {
    for (const gateway of started.splice(0)) await gateway.dispose()
    await upstream.close()
  })
  async function start(...args: Parameters<typeof startProcess>): Promise<GatewayProcess> {
    const gateway = await startProcess(...args)
    started.push(gateway)
    return gateway
  }
  const route = (more: object = {}) => ({
    uri: '/*',
    upstream: { type: 'roundrobin', nodes: { [`127.0.0.1:${upstream.port}`]: 1 } },
    ...more,
  })

  it('says where it listens and where the admin key is, which only its owner can read', async () => {
    const gateway = await start()
    const { stdout } = gateway.output
    for (const name of ['requests', 'admin', 'control', 'status', 'prometheus'])
      assert.match(stdout, new RegExp(`${name} +127.0.0.1:\\d+`))
    assert.ok(stdout.includes(join(gateway.folder, 'data/admin.key')))
    assert.ok(!stdout.includes(gateway.adminKey))
    for (const file of ['admin.key', 'keyring'])
      assert.equal(statSync(join(gateway.folder, 'data', file)).mode & 0o777, 0o600)
  })

  it('runs functions of configs where that is allowed, in processes that end with it, also when it is killed', async () => {
    const gateway = await start(configFolder('sluice:\n  javascript: {enabled: true, timeout: 20s}\n'))
    const functions = ['(conf, ctx) => ({ status: 200, body: ctx.var.uri })']
    const plugins = { 'serverless-pre-function': { functions } }
    const put = (id: string, more: object) => gateway.admin('PUT', `/routes/${id}`, route(more))
    assert.equal((await put('1', { plugins, filter_func: 'function(vars) { return vars.arg_a }' })).status, 201)
    assert.equal((await put('2', { priority: -1 })).status, 201)
    assert.equal(await (await fetch(`${gateway.urls.requests}/x?a=1`)).text(), '/x')
    assert.equal(await (await fetch(`${gateway.urls.requests}/x`)).text(), '{"ok":true}')
    const lua = await put('3', { filter_func: 'function(vars) return true end' })
    assert.equal(lua.status, 400)
    const children = childrenOf(gateway.child.pid!)
    assert.ok(children.length > 0)
    await gateway.stop('SIGKILL')
    await until(() => children.every(pid => !isAlive(pid)), 'they have ended')
  })

  it('serves a route at once when its PUT has answered, in every later version too, until it is deleted', async () => {
    const gateway = await start()
    upstream.script = received => received.json(200, { target: received.target })
    for (let version = 0; version < 30; version++) {
      const { status } = await gateway.admin(
        'PUT',
        '/routes/1',
        route({ plugins: { 'proxy-rewrite': { uri: `/v${version}` } } }),
      )
      assert.equal(status, version === 0 ? 201 : 200)
      const answer = await fetch(`${gateway.urls.requests}/x`)
      assert.deepEqual(await answer.json(), { target: `/v${version}` })
    }
    assert.equal((await gateway.admin('DELETE', '/routes/1')).status, 200)
    assert.equal((await fetch(`${gateway.urls.requests}/x`)).status, 404)
  })

  it('finds routes as its configuration says', async () => {
    const configured = configFolder()
    const text = readFileSync(configured.file, 'utf8')
    writeFileSync(configured.file, text.replace('apisix:', 'apisix:\n  router: {http: radixtree_uri_with_parameter}'))
    const gateway = await start(configured)
    upstream.script = received => received.json(200, { target: received.target })
    const plugins = { 'proxy-rewrite': { uri: '/of/$uri_param_user' } }
    assert.equal((await gateway.admin('PUT', '/routes/1', route({ uri: '/users/:user/posts', plugins }))).status, 201)
    const answer = await fetch(`${gateway.urls.requests}/users/jack/posts`)
    assert.deepEqual(await answer.json(), { target: '/of/jack' })
    assert.equal((await fetch(`${gateway.urls.requests}/users/jack`)).status, 404)
  })

  it('lets a stream in flight finish on the route it started with while the route changes', async () => {
    const gateway = await start()
    await gateway.admin('PUT', '/routes/1', route())
    upstream.script = received => received.startStream()
    const answer = await fetch(`${gateway.urls.requests}/stream`)
    const reader = answer.body!.getReader()
    const received = await upstream.request(0)
    await received.event('one')
    assert.match(Buffer.from((await reader.read()).value!).toString(), /one/)
    await gateway.admin('DELETE', '/routes/1')
    assert.equal((await fetch(`${gateway.urls.requests}/stream`)).status, 404)
    await received.event('two')
    assert.match(Buffer.from((await reader.read()).value!).toString(), /two/)
    received.response.end()
    assert.equal((await reader.read()).done, true)
  })

  it('keeps what was written over kill -9', async () => {
    const gateway = await start()
    await gateway.admin('PUT', '/routes/1', route())
    await gateway.stop('SIGKILL')
    const again = await start({ folder: gateway.folder, file: join(gateway.folder, 'config.yaml') })
    assert.equal(again.adminKey, gateway.adminKey)
    assert.equal((await fetch(`${again.urls.requests}/x`)).status, 200)
  })

  it('keeps credentials encrypted on disk', async () => {
    const gateway = await start()
    await gateway.admin('PUT', '/consumers', { username: 'jack', plugins: { 'key-auth': { key: 'a-secret-of-jack' } } })
    await gateway.stop()
    for (const file of ['sluice.db', 'sluice.db-wal']) {
      const path = join(gateway.folder, 'data', file)
      if (statSync(path, { throwIfNoEntry: false }))
        assert.ok(!readFileSync(path, 'latin1').includes('a-secret-of-jack'))
    }
  })

  it('is alive at /status and ready at /status/ready', async () => {
    const gateway = await start()
    for (const path of ['/status', '/status/ready']) {
      const answer = await fetch(gateway.urls.status + path)
      assert.equal(answer.status, 200)
      assert.deepEqual(await answer.json(), { status: 'ok' })
    }
  })

  it('shows its own and the data plane metrics at the Prometheus port', async () => {
    const gateway = await start()
    await gateway.admin('PUT', '/routes/1', route({ plugins: { prometheus: {} } }))
    await fetch(`${gateway.urls.requests}/x`).then(answer => answer.text())
    const page = () => fetch(`${gateway.urls.prometheus}/apisix/prometheus/metrics`).then(answer => answer.text())
    await until(async () => /apisix_http_status\{code="200",route="1"/.test(await page()), 'the request is counted')
    assert.match(await page(), /apisix_node_info\{hostname="[^"]+",version="[^"]+"\} 1/)
  })

  it('drains on SIGTERM to npm: streams finish, new connections are refused, npm exits 0', async () => {
    const gateway = await start(configFolder(), ['npm', 'start', '--'])
    await gateway.admin('PUT', '/routes/1', route())
    upstream.script = received => received.startStream()
    const answer = await fetch(`${gateway.urls.requests}/stream`)
    const reader = answer.body!.getReader()
    const received = await upstream.request(0)
    await received.event('before')
    await reader.read()
    // What still gets in before the drain begins must not be a stream that nobody ends.
    upstream.script = received => received.json(200, {})
    const exit = once(gateway.child, 'close')
    gateway.child.kill('SIGTERM')
    await until(
      () =>
        fetch(`${gateway.urls.requests}/new`).then(
          () => false,
          () => true,
        ),
      'new connections are refused',
    )
    await received.event('after')
    assert.match(Buffer.from((await reader.read()).value!).toString(), /after/)
    received.response.end()
    assert.equal((await reader.read()).done, true)
    assert.deepEqual(await exit, [0, null])
  })

  it('reopens its log and reads its configuration again on SIGHUP, while a stream goes on', async () => {
    const gateway = await start()
    await gateway.admin('PUT', '/routes/1', route())
    upstream.script = received => received.startStream()
    const answer = await fetch(`${gateway.urls.requests}/stream`)
    const reader = answer.body!.getReader()
    const received = await upstream.request(0)
    const [log, file] = [join(gateway.folder, 'error.log'), join(gateway.folder, 'config.yaml')]
    renameSync(log, `${log}.1`)
    const text = readFileSync(file, 'utf8')
    writeFileSync(file, text.replace('http: {', 'error_log_level: info\n  http: {client_max_body_size: 10, '))
    gateway.child.kill('SIGHUP')
    upstream.script = received => received.json(200, {})
    // A connection that an old worker had not accepted yet when it closed is lost.
    const post = () =>
      fetch(`${gateway.urls.requests}/x`, { method: 'POST', body: 'more than ten bytes' }).then(
        ({ status }) => status,
        () => 0,
      )
    const refused = async () => (await Promise.all(Array.from({ length: 8 }, post))).every(status => status === 413)
    const workers = /with (\d+) worker/.exec(gateway.output.stdout)![1]
    const page = () => fetch(`${gateway.urls.prometheus}/apisix/prometheus/metrics`).then(answer => answer.text())
    const replaced = `sluice_worker_replacements_total{reason="planned",plugin=""} ${workers}`
    await until(async () => (await page()).includes(replaced), 'every worker is a new one', 60_000)
    // Connections of before bring one more answer each.
    await until(refused, 'the new limit holds')
    assert.ok(statSync(log).isFile())
    await received.event('still there')
    assert.match(Buffer.from((await reader.read()).value!).toString(), /still there/)
    received.response.end()
    assert.equal((await reader.read()).done, true)
    // A configuration that cannot be read changes nothing.
    writeFileSync(file, 'nonsense: 1\n')
    gateway.child.kill('SIGHUP')
    await until(() => readFileSync(log, 'utf8').includes('everything stays as it is'), 'it says so')
    await until(refused, 'the limit still holds')
  })

  describe('when it cannot start', () => {
    /** One line on stderr, and exit code 1. */
    async function refuses(file: string, expected: RegExp): Promise<void> {
      const { code, stderr, stdout } = await run(['--config', file])
      assert.equal(code, 1)
      assert.match(stderr, expected)
      assert.equal(stderr.trim().split('\n').length, 1, stderr)
      assert.equal(stdout, '')
    }

    const lineOf = (file: string, text: string) =>
      1 +
      readFileSync(file, 'utf8')
        .split('\n')
        .findIndex(line => line.includes(text))

    it('names file, line and key of a port in use', async () => {
      const other = createServer().listen(0, '127.0.0.1')
      await once(other, 'listening')
      const { port } = other.address() as AddressInfo
      const { file } = configFolder()
      const text = readFileSync(file, 'utf8')
      writeFileSync(
        file,
        text.replace('node_listen: [{ip: 127.0.0.1, port: 0}]', `node_listen: [{ip: 127.0.0.1, port: ${port}}]`),
      )
      const listens = lineOf(file, 'node_listen')
      await refuses(
        file,
        new RegExp(`config.yaml:${listens}: apisix.node_listen.*127.0.0.1:${port}: the port is in use`),
      )
      writeFileSync(
        file,
        text.replace('admin_listen: {ip: 127.0.0.1, port: 0}', `admin_listen: {ip: 127.0.0.1, port: ${port}}`),
      )
      await refuses(
        file,
        new RegExp(
          `config.yaml:${lineOf(file, 'admin_listen')}: deployment.admin.admin_listen: 127.0.0.1:${port}: the port is in use`,
        ),
      )
      other.close()
    })

    it('names a mistyped key and what it may have meant', async () => {
      const { file } = configFolder('apisx: {}\n')
      const line = lineOf(file, 'apisx')
      await refuses(file, new RegExp(`config.yaml:${line}: apisx: unknown key \\(did you mean apisix\\?\\)`))
    })

    it('names a file that is not there', () => refuses('/nowhere/config.yaml', /\/nowhere\/config.yaml: /))

    it('names a data folder that another process uses', async () => {
      const gateway = await start()
      await refuses(join(gateway.folder, 'config.yaml'), new RegExp(`${gateway.folder}/data`))
    })

    it('names a plugin that is enabled and does not exist', async () => {
      const { file } = configFolder('plugins: [key-auth, key-oth]\n')
      await refuses(file, new RegExp(`config.yaml:${lineOf(file, 'key-oth')}: plugins.*key-oth`))
    })
  })

  it('prints its version and its help, and validates a configuration without starting', async () => {
    assert.match((await run(['--version'])).stdout, /^\d+\.\d+\.\d+\n$/)
    assert.match((await run(['--help'])).stdout, /--config <file>/)
    const { file } = configFolder('graphql: {max_size: 1}\n')
    const valid = await run(['validate', '--config', file])
    assert.equal(valid.code, 0)
    assert.match(valid.stdout, /warning: .*graphql.*no effect/)
    const wrong = await run(['validate', '--config', configFolder('nonsense: 1\n').file])
    assert.equal(wrong.code, 1)
  })
})
