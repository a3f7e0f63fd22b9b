// The admin API of a gateway that is a process of its own: TLS, and what must not get out of it.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { configFolder, type GatewayProcess, run, startProcess } from './helpers/process.ts'
import { connectRaw } from './helpers/raw-client.ts'
import { pem } from './helpers/samples.ts'
import { until } from './helpers/until.ts'

// biome-ignore lint/suspicious/noExplicitAny: any JSON
type Json = any

describe('the admin API of a process', function () {
  this.timeout(180_000)
  const started: GatewayProcess[] = []

  afterEach(async () => {
    for (const gateway of started.splice(0)) await gateway.dispose()
  })

  /** A folder whose configuration is changed before the start. */
  function configured(change: (text: string, folder: string) => string): { folder: string; file: string } {
    const made = configFolder()
    writeFileSync(made.file, change(readFileSync(made.file, 'utf8'), made.folder))
    return made
  }
  async function start(made = configFolder()): Promise<GatewayProcess> {
    const gateway = await startProcess(made)
    started.push(gateway)
    return gateway
  }

  it('writes its key nowhere, whatever is asked with it', async () => {
    const gateway = await start(
      configured(text => text.replace('nginx_config:\n', 'nginx_config:\n  error_log_level: debug\n')),
    )
    const key = gateway.adminKey
    const url = `${gateway.urls.admin}/apisix/admin`
    const ask = (path: string, init: RequestInit = {}) => fetch(url + path, init).then(answer => answer.text(), String)
    const headers = { 'x-api-key': key }
    const answers = [
      await ask(`/routes?api_key=${key}`),
      await ask('/routes/1', { method: 'PUT', headers, body: '{' }),
      await ask('/routes/1', { method: 'PUT', headers, body: '{"uri":"/a","plugins":{}}' }),
      await ask('/nobody', { headers: { cookie: `x_api_key=${key}` } }),
      await ask(`/routes?api_key=${key}x`),
      await ask('/routes/%E0%A4%A', { headers }),
    ]
    const client = await connectRaw(Number(new URL(gateway.urls.admin).port))
    client.write(`GET /apisix/admin/routes?api_key=${key} HTTP/1.1\r\nX-API-KEY: ${key}\r\nbro ken: 1\r\n\r\n`)
    await until(() => client.closed, 'what is no request is refused')
    await gateway.stop()
    const log = readFileSync(join(gateway.folder, 'error.log'), 'utf8')
    for (const text of [...answers, gateway.output.stdout, gateway.output.stderr, client.received, log]) {
      assert.ok(!text.includes(key), text)
    }
  })

  it('speaks TLS, says at the start what is wrong with its certificates, and takes new ones on SIGHUP', async () => {
    const made = configured((text, folder) =>
      text.replace(
        'admin_listen:',
        `https_admin: true
    admin_api_mtls: {admin_ssl_cert: ${folder}/admin.crt, admin_ssl_cert_key: ${folder}/admin.pem}
    admin_listen:`,
      ),
    )
    const write = (cert: string, key: string) => {
      writeFileSync(join(made.folder, 'admin.crt'), pem(cert))
      writeFileSync(join(made.folder, 'admin.pem'), pem(key))
    }
    const refused = await run(['--config', made.file])
    assert.match(refused.stderr, /deployment\.admin\.admin_api_mtls: ENOENT/)
    assert.equal(refused.code, 1)
    write('self-signed', 'self-signed-key')
    const gateway = await start(made)
    const port = Number(new URL(gateway.urls.admin).port)
    const subject = async () => {
      const socket = connectTls({ port, rejectUnauthorized: false })
      await once(socket, 'secureConnect')
      const { CN } = socket.getPeerCertificate().subject
      socket.destroy()
      return CN
    }
    assert.equal(await subject(), 'localhost')
    write('client', 'client-key')
    gateway.child.kill('SIGHUP')
    await until(async () => (await subject()) === 'client', 'the new certificate is shown', 30_000)
  })

  /** What a path of the data plane answers, and with what. */
  const ask = async (gateway: GatewayProcess, path: string) => {
    const answer = await fetch(`${gateway.urls.requests}${path}`)
    await answer.arrayBuffer()
    return [answer.status, answer.headers.get('x-from')]
  }
  const route = (id: string, from: string) =>
    `  - {id: ${id}, uri: /${id}, plugins: {response-rewrite: {status_code: 200, headers: {set: {x-from: ${from}}}}}}\n`

  it('is not there where resources are in a file, which is served, watched and said to be wrong', async () => {
    const made = configured((text, folder) =>
      text.replace('apisix:\n', 'apisix:\n  enable_admin: false\n').replace(
        'deployment:\n',
        `deployment:
  role_traditional: {config_provider: yaml}
  standalone: {path: ${folder}/apisix.yaml}
`,
      ),
    )
    const file = join(made.folder, 'apisix.yaml')
    writeFileSync(file, `routes:\n${route('one', 'first')}`)
    const refused = await run(['--config', made.file])
    assert.deepEqual([refused.code, refused.stderr], [1, `sluice: ${file}: does not end with the line #END\n`])

    writeFileSync(file, `routes:\n${route('one', 'first')}plugins: [{name: response-rewrite}]\n#END\n`)
    const gateway = await start(made)
    assert.ok(!gateway.output.stdout.includes('admin '))
    assert.deepEqual(await ask(gateway, '/one'), [200, 'first'])
    assert.equal((await fetch(`${gateway.urls.status}/status/ready`)).status, 200)

    const guarded = '  - {id: two, uri: /two, plugins: {key-auth: {}}}\n'
    writeFileSync(file, `routes:\n${route('one', 'second')}${guarded}#END\n`)
    await until(async () => (await ask(gateway, '/one'))[1] === 'second', 'the edit is served', 30_000)
    // Other plugins mean other workers: until those of before are gone, they answer some requests, without this plugin.
    const others = async () => (await ask(gateway, '/two'))[0] === 401
    await until(others, 'plugins may be others now', 30_000)

    writeFileSync(file, `routes:\n${route('one', 'third')}  - {id: two, uri: 5, plugins: {}}\n#END\n`)
    await until(async () => (await ask(gateway, '/one'))[1] === 'third', 'the good part of the edit is served', 30_000)
    await until(others, 'the older configuration of what is wrong now is served', 30_000)
    const status = async () => (await (await fetch(`${gateway.urls.control}/v1/config/status`)).json()) as Json
    const { document } = await status()
    const reason = 'invalid configuration: property "uri" validation failed: wrong type: expected string, got number'
    assert.deepEqual(document, {
      file,
      rejected: [{ where: `${file}:3: routes[1]`, id: 'two', reason, servesOlder: true }],
    })

    writeFileSync(file, 'routes: [\n#END\n')
    // While the file is written it may be seen empty, which is another mistake.
    const where = async () => /apisix\.yaml:\d: /.test((await status()).document.fault ?? '')
    await until(where, 'the mistake is seen, and where it is', 30_000)
    assert.deepEqual(await ask(gateway, '/one'), [200, 'third'])
  })

  it('takes the whole configuration at once where the gateway stands alone, and is not ready before', async () => {
    const gateway = await start(
      configured(
        text => `${text.replace('deployment:\n', 'deployment:\n  role_traditional: {config_provider: yaml}\n')}
sluice: {admin_server: APISIX/3.13.0}
`,
      ),
    )
    const { headers } = await fetch(`${gateway.urls.admin}/apisix/admin/configs`)
    assert.equal(headers.get('server'), 'APISIX/3.13.0')
    assert.match(headers.get('x-gateway') ?? '', /^Sluice\//)
    const ready = () => fetch(`${gateway.urls.status}/status/ready`)
    const before = await ready()
    const waiting = { status: 'error', error: 'worker id: 0 has not received configuration' }
    assert.deepEqual([before.status, await before.json()], [503, waiting])
    const put = async (body: string, digest: string) => {
      const headers = { 'x-api-key': gateway.adminKey, 'x-digest': digest, 'content-type': 'application/yaml' }
      return (await fetch(`${gateway.urls.admin}/apisix/admin/configs`, { method: 'PUT', headers, body })).status
    }
    assert.equal(await put(`routes:\n${route('one', 'first')}`, 'a'), 202)
    assert.equal((await ready()).status, 200)
    assert.deepEqual(await ask(gateway, '/one'), [200, 'first'])
    assert.equal(await put(`routes:\n${route('one', 'second')}plugins: [{name: response-rewrite}]`, 'b'), 202)
    assert.deepEqual(await ask(gateway, '/one'), [200, 'second'])
    assert.equal(await put('routes: []\nplugins: [{name: nobody}]', 'c'), 400)
    assert.equal(await put('', 'd'), 400)
    assert.equal(await put('{}', 'e'), 202)
    assert.equal((await ask(gateway, '/one'))[0], 404)
    assert.equal((await gateway.admin('PUT', '/routes/1', {})).status, 404)
  })
})
