// Why a request did what it did, asked of a gateway of two workers as its operators do.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { configFolder, type GatewayProcess, startProcess } from './helpers/process.ts'
import { until } from './helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

const KEY = 'of-this-test-alone'

describe('a gateway that explains itself', function () {
  this.timeout(120_000)
  let gateway: GatewayProcess
  let upstream: ScriptedUpstream

  before(async () => {
    upstream = await startUpstream()
    const place = configFolder(`sluice:\n  debug_key: ${KEY}\n`, { nginx_config: 'worker_processes: 2' })
    writeFileSync(join(place.folder, 'debug.yaml'), 'basic:\n  enable: true\n#END\n')
    gateway = await startProcess(place)
    const plugins = { 'request-id': {} }
    const put = await gateway.admin('PUT', '/routes/r', { uri: '/r/*', plugins, upstream: { nodes: upstream.nodes } })
    assert.equal(put.status, 201)
  })
  after(async () => {
    await gateway?.dispose()
    await upstream.close()
  })

  async function explained(id: string): Promise<{ status: number; body: Record<string, unknown> }> {
    const response = await fetch(`${gateway.urls.control}/v1/explain/${id}`)
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  }

  it('finds a request whichever worker has served it', async () => {
    const workers = new Set<unknown>()
    let sent = 0
    await until(async () => {
      const id = `request-${sent++}`
      const headers = { 'X-Request-Id': id, connection: 'close' }
      const response = await fetch(`${gateway.urls.requests}/r/x`, { headers })
      await response.text()
      if (response.status !== 200) return false
      await until(async () => (await explained(id)).body.ending === 'complete', 'it is over')
      const { body } = await explained(id)
      assert.deepEqual([body.request_id, body.status, body.path], [id, 200, '/r/x'])
      assert.deepEqual((body.route as { id: string }).id, 'r')
      workers.add(body.worker)
      return workers.size === 2
    }, 'both workers have served one')
  })

  it('says of a request that it does not know it', async () => {
    const { status, body } = await explained('never-sent')
    assert.equal(status, 404)
    assert.match(String(body.error_msg), /^request\[never-sent\] is not known/)
  })

  it('tells whoever has the configured key in the response, and others only the plugins', async () => {
    let plugins: string | null = null
    await until(async () => {
      const response = await fetch(`${gateway.urls.requests}/r/x`, { headers: { 'X-Sluice-Debug': KEY } })
      await response.text()
      plugins = response.headers.get('apisix-plugins')
      return JSON.parse(response.headers.get('x-sluice-trace')!).route === 'r'
    }, 'the route is served')
    assert.match(String(plugins), /^request-id#rewrite, /)
    const other = await fetch(`${gateway.urls.requests}/r/x`, { headers: { 'X-Sluice-Debug': `${KEY}r` } })
    assert.deepEqual([other.status, other.headers.get('x-sluice-trace')], [200, null])
    // It runs in debug mode.
    assert.equal(other.headers.get('apisix-plugins'), plugins)
  })

  it('tells what would become of a request, without sending it', async () => {
    const before = upstream.received.length
    const told = async (asked: object) => {
      const response = await fetch(`${gateway.urls.control}/v1/explain`, {
        method: 'POST',
        body: JSON.stringify(asked),
      })
      return { status: response.status, body: (await response.json()) as Record<string, unknown> }
    }
    const { status, body } = await told({ uri: '/r/y', host: 'a.test' })
    assert.equal(status, 200)
    assert.deepEqual((body.route as { id: string }).id, 'r')
    const [plugin] = body.plugins as { name: string; from: object; config: object }[]
    assert.deepEqual([plugin!.name, plugin!.from], ['request-id', { kind: 'routes', id: 'r' }])
    const refused = await told({ uri: 'r' })
    assert.equal(refused.status, 400)
    const nobody = await told({ uri: '/r/y', host: 'a.test', consumer: 'nobody' })
    assert.deepEqual([nobody.status, nobody.body], [400, { error_msg: 'there is no consumer nobody' }])
    assert.equal(upstream.received.length, before)
  })
})
