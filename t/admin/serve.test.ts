// The sockets of the servers: TLS where it is asked for, certificates of clients, and new certificates while it runs.
import assert from 'node:assert/strict'
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openApp, send } from '../../admin/answer.ts'
import { type Served, serve, type TlsFiles } from '../../admin/serve.ts'
import { silent } from '../../core/observe/log.ts'
import { pem } from '../helpers/samples.ts'

const fixture = (name: string) => new URL(`../fixtures/tls/${name}.pem`, import.meta.url).pathname
const files: TlsFiles = { cert: fixture('self-signed'), key: fixture('self-signed-key'), ca: undefined }

describe('a server', () => {
  let served: Served | undefined

  afterEach(async () => {
    await served?.close()
    served = undefined
  })

  async function start(tls?: TlsFiles): Promise<Served> {
    const app = openApp({ log: silent, serverName: 'x' })
    app.use(ctx => send(ctx, 200, { secure: ctx.secure }))
    served = await serve(app, { host: '127.0.0.1', port: 0 }, tls)
    return served
  }

  /** What comes over TLS: the answer, and whose certificate the server showed. */
  function get(options: object = {}): Promise<{ text: string; subject: string }> {
    return new Promise((resolve, reject) => {
      const { port } = served!.address
      const agent = new Agent({ keepAlive: false })
      const outgoing = request({ port, host: '127.0.0.1', ca: pem('self-signed'), agent, ...options }, answer => {
        const { subject } = (answer.socket as import('node:tls').TLSSocket).getPeerCertificate()
        let text = ''
        answer.on('data', chunk => {
          text += chunk
        })
        answer.on('end', () => resolve({ text, subject: String(subject.CN) }))
        answer.on('error', reject)
      })
      outgoing.on('error', reject).end()
    })
  }

  it('speaks plain HTTP where nothing else is asked for', async () => {
    const { address, renew } = await start()
    assert.deepEqual(await (await fetch(`http://127.0.0.1:${address.port}`)).json(), { secure: false })
    renew()
  })

  it('speaks TLS of a version that is still good', async () => {
    await start(files)
    assert.deepEqual(await get(), { text: '{"secure":true}\n', subject: 'localhost' })
    await assert.rejects(get({ maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' }))
    await assert.rejects(fetch(`http://127.0.0.1:${served!.address.port}`))
  })

  it('lets in only who shows a certificate of the right authority, where one is named', async () => {
    await start({ ...files, ca: fixture('authority') })
    const mine = { cert: pem('client'), key: pem('client-key') }
    assert.equal((await get(mine)).text, '{"secure":true}\n')
    await assert.rejects(get())
    await assert.rejects(get({ cert: pem('self-signed'), key: pem('self-signed-key') }))
  })

  it('shows new certificates when it is told to, and keeps those it has when they are no good', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-tls-'))
    const own: TlsFiles = { cert: join(folder, 'cert'), key: join(folder, 'key'), ca: undefined }
    copyFileSync(files.cert, own.cert)
    copyFileSync(files.key, own.key)
    await start(own)
    assert.equal((await get()).subject, 'localhost')
    writeFileSync(own.cert, pem('client'))
    writeFileSync(own.key, pem('client-key'))
    served!.renew()
    const trusting = { ca: pem('authority'), checkServerIdentity: () => undefined }
    assert.equal((await get(trusting)).subject, 'client')
    writeFileSync(own.key, 'nonsense')
    assert.throws(() => served!.renew())
    rmSync(folder, { recursive: true })
    assert.throws(() => served!.renew(), /ENOENT/)
    assert.equal((await get(trusting)).subject, 'client')
  })

  it('does not begin with certificates that cannot be used', async () => {
    await assert.rejects(start({ ...files, key: fixture('client-key') }), /key values mismatch/)
    await assert.rejects(start({ ...files, cert: '/nowhere' }), /ENOENT/)
  })
})
