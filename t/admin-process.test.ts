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
})
