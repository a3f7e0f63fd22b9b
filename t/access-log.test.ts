// The access log of a gateway process, as whoever reads the file sees it.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: it is nginx's syntax
import assert from 'node:assert/strict'
import { existsSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { configFolder, type GatewayProcess, startProcess } from './helpers/process.ts'
import { connectRaw } from './helpers/raw-client.ts'
import { until } from './helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

describe('the access log', function () {
  this.timeout(120_000)
  let upstream: ScriptedUpstream
  let gateway: GatewayProcess | undefined

  beforeEach(async () => {
    upstream = await startUpstream()
  })
  afterEach(async () => {
    await gateway?.dispose()
    gateway = undefined
    await upstream.close()
  })

  async function start(http = ''): Promise<GatewayProcess> {
    const place = configFolder('', http === '' ? {} : { nginx_config: `http: {${http}}` })
    gateway = await startProcess(place, undefined, { APISIX_WORKER_PROCESSES: '2' })
    const nodes = { [`127.0.0.1:${upstream.port}`]: 1 }
    await gateway.admin('PUT', '/routes/1', { uri: '/*', upstream: { type: 'roundrobin', nodes } })
    return gateway
  }
  const linesOf = (file: string) => (existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : [])

  it('has the line of APISIX for each request, without its secrets, and for what was none', async () => {
    const { folder, urls } = await start()
    const file = join(folder, 'requests.log')
    const authorization = `Basic ${Buffer.from('jack:s3cret').toString('base64')}`
    const headers = { authorization, referer: 'http://a.test/?apikey=s3cret', 'user-agent': 'a "tester"' }
    await (await fetch(`${urls.requests}/a?apikey=s3cret&b=1`, { headers })).arrayBuffer()
    await until(() => linesOf(file).length === 1, 'a line')
    const host = urls.requests.slice('http://'.length)
    const [line = ''] = linesOf(file)
    const expected =
      `^127\\.0\\.0\\.1 - jack \\[\\d+/\\w+/\\d+:[\\d:]+ [+-]\\d{4}\\] ${host} ` +
      `"GET /a\\?apikey=\\[redacted\\]&b=1 HTTP/1\\.1" 200 11 \\d+\\.\\d{3} ` +
      `"http://a\\.test/\\?apikey=\\[redacted\\]" "a \\\\x22tester\\\\x22" ` +
      `127\\.0\\.0\\.1:${upstream.port} 200 \\d+\\.\\d{3} "http://${host}" "[0-9a-f]{32}"$`
    assert.match(line, new RegExp(expected))
    const client = await connectRaw(Number(new URL(urls.requests).port))
    client.write('nonsense\r\n\r\n')
    await until(() => linesOf(file).length === 2, 'another')
    assert.match(linesOf(file)[1]!, /^127\.0\.0\.1 - - \[.+\] - "" 400 0 0\.000 "-" "-" - - - "http:\/\/" "-"$/)
    client.close()
    assert.doesNotMatch(readFileSync(file, 'utf8'), /s3cret/)
  })

  it('is JSON where its format is, goes on in a new file, and is whole when the gateway has ended', async () => {
    const place = configFolder()
    const file = join(place.folder, 'sub/folder/access.json')
    const format = '{"uri":"$uri","status":$status,"id":"${request_id}","agent":"$http_user_agent","none":"$arg_none"}'
    const { urls, child, stop } = await start(
      `access_log: "${file}", access_log_format_escape: json, access_log_buffer: 0, access_log_format: '${format}'`,
    )
    const ask = async (path: string) =>
      void (await (await fetch(urls.requests + path, { headers: { 'user-agent': 'a "t\\' } })).arrayBuffer())
    await ask('/one')
    await until(() => linesOf(file).length === 1, 'a line')
    const { id, ...rest } = JSON.parse(linesOf(file)[0]!) as Record<string, unknown>
    assert.deepEqual(rest, { uri: '/one', status: 200, agent: 'a "t\\', none: '' })
    assert.match(String(id), /^[0-9a-f]{32}$/)
    renameSync(file, `${file}.1`)
    child.kill('SIGHUP')
    await until(async () => {
      await ask('/two')
      return linesOf(file).length > 0
    }, 'a line in the new file')
    const before = linesOf(file).length + linesOf(`${file}.1`).length
    for (let n = 0; n < 10; n++) await ask('/three')
    assert.equal(await stop(), 0)
    const all = [...linesOf(`${file}.1`), ...linesOf(file)]
    assert.equal(all.filter(line => line.includes('/three')).length, 10)
    assert.ok(all.length >= before + 10)
  })

  it('is not there when it is switched off', async () => {
    const place = configFolder()
    const { urls, stop } = await start(`enable_access_log: false, access_log: ${join(place.folder, 'requests.log')}`)
    await (await fetch(urls.requests)).arrayBuffer()
    assert.equal(await stop(), 0)
    assert.ok(!existsSync(join(place.folder, 'requests.log')))
  })
})
