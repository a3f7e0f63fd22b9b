// One probe of a real target: what is sent, and what the answer means (facts core 6.6).
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { healthChecks, type WrittenChecks } from '../../../../core/proxy/health/checks.ts'
import { probe } from '../../../../core/proxy/health/probe.ts'
import { startDeafPort } from '../../../helpers/deaf-port.ts'
import { until } from '../../../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../../../helpers/upstream.ts'

const fixture = (name: string) => readFileSync(new URL(`../../../fixtures/tls/${name}`, import.meta.url), 'utf8')

describe('a probe', () => {
  let upstream: ScriptedUpstream
  beforeEach(async () => {
    upstream = await startUpstream()
  })
  afterEach(() => upstream.close())

  const ask = (active: WrittenChecks['active'], given: { port?: number; hostHeader?: string } = {}) =>
    probe(
      { ip: '127.0.0.1', hostname: 'x', port: upstream.port, hostHeader: 'inner.test', ...given },
      { checks: healthChecks({ active }).active, clientCert: undefined },
    )

  for (const [status, sign] of [
    [200, 'success'],
    [302, 'success'],
    [204, undefined],
    [401, undefined],
    [404, 'http'],
    [503, 'http'],
  ] as const) {
    it(`takes a ${status} for ${sign ?? 'nothing'}`, async () => {
      upstream.script = ({ response }) => response.writeHead(status, { location: '/elsewhere' }).end()
      assert.equal(await ask({}), sign)
      assert.equal(upstream.received.length, 1, 'it does not follow')
    })
  }

  it('takes the statuses it is told', async () => {
    upstream.script = ({ response }) => response.writeHead(418).end()
    assert.equal(await ask({ healthy: { http_statuses: [418] } }), 'success')
    assert.equal(await ask({ unhealthy: { http_statuses: [418] } }), 'http')
  })

  it('asks as it is told, on a connection of its own', async () => {
    await ask({
      http_method: 'POST',
      http_path: '/status?deep=1',
      http_req_body: 'are you thére',
      req_headers: ['X-Probe: yes', 'User-Agent: sluice'],
    })
    const { method, target, headers, body } = upstream.received[0]!
    assert.deepEqual([method, target, String(await body)], ['POST', '/status?deep=1', 'are you thére'])
    const { host, connection, 'x-probe': own, 'user-agent': agent } = headers
    assert.deepEqual([host, connection, own, agent], ['inner.test', 'close', 'yes', 'sluice'])
    await until(() => upstream.openConnections() === 0, 'the connection is closed')
  })

  it('says the Host that its fields say', async () => {
    await ask({ req_headers: ['host: told.test'] })
    assert.deepEqual(
      upstream.received[0]!.rawHeaders.filter((_, at, raw) => raw[at - (at % 2)]!.toLowerCase() === 'host'),
      ['host', 'told.test'],
    )
  })

  it('does not wait for a body', async () => {
    upstream.script = received => received.write('the beginning of much')
    assert.equal(await ask({}), 'success')
    await upstream.received[0]!.closed
  })

  it('takes a refused, broken or senseless answer for a failure of TCP', async () => {
    assert.equal(await ask({}, { port: 1 }), 'tcp')
    for (const script of [
      ({ socket }: { socket: { destroy(): void } }) => socket.destroy(),
      (received: { reset(): void }) => received.reset(),
      (received: { lie(bytes: string): void }) => received.lie('EHLO\r\n\r\n'),
    ]) {
      upstream.script = script
      assert.equal(await ask({}), 'tcp')
    }
  })

  it('takes silence for a timeout, before and after the connection is there', async () => {
    upstream.script = () => {}
    assert.equal(await ask({ timeout: 0.05 }), 'timeout')
    await upstream.received[0]!.closed
    const deaf = await startDeafPort()
    try {
      assert.equal(await ask({ timeout: 0.05 }, { port: deaf.port }), 'timeout')
      assert.equal(await ask({ timeout: 0.05, type: 'tcp' }, { port: deaf.port }), 'timeout')
    } finally {
      await deaf.close()
    }
  })

  it('of type tcp only connects', async () => {
    assert.equal(await ask({ type: 'tcp' }), 'success')
    assert.equal(await ask({ type: 'tcp' }, { port: 1 }), 'tcp')
    assert.equal(upstream.received.length, 0)
    await until(() => upstream.openConnections() === 0, 'the connection is closed')
  })

  describe('over TLS', () => {
    const [key, cert] = [fixture('self-signed-key.pem'), fixture('self-signed.pem')]
    const seen: { name: string | false | null; cert: string | undefined }[] = []
    const server = createServer({ key, cert, requestCert: true, rejectUnauthorized: false }, (message, response) => {
      const socket = message.socket as TLSSocket
      const { subject } = socket.getPeerCertificate() as { subject?: { CN: string } }
      seen.push({ name: socket.servername as string | false, cert: subject?.CN })
      response.end()
    })
    let port = 0
    before(async () => {
      await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
      port = (server.address() as AddressInfo).port
    })
    after(() => {
      server.closeAllConnections()
      server.close()
    })
    beforeEach(() => {
      seen.length = 0
    })

    it('asks for the name that it says as Host', async () => {
      assert.equal(await ask({ type: 'https', https_verify_certificate: false }, { port }), 'success')
      assert.equal(
        await ask({ type: 'https', https_verify_certificate: false }, { port, hostHeader: '127.0.0.1' }),
        'success',
      )
      assert.deepEqual(
        seen.map(({ name }) => name),
        ['inner.test', false],
      )
    })

    it('takes a certificate that does not verify for a failure, unless it is told not to look', async () => {
      assert.equal(await ask({ type: 'https' }, { port }), 'tcp')
    })

    it("shows the upstream's client certificate", async () => {
      const checks = healthChecks({ active: { type: 'https', https_verify_certificate: false } }).active
      const target = { ip: '127.0.0.1', hostname: 'x', port, hostHeader: 'inner.test' }
      assert.equal(await probe(target, { checks, clientCert: { cert, key } }), 'success')
      assert.notEqual(seen[0]!.cert, undefined)
    })
  })
})
