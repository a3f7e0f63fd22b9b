// The status server: is it there, and does it serve.
import assert from 'node:assert/strict'
import { statusApi } from '../../admin/status.ts'
import { silent } from '../../core/observe/log.ts'
import { serve, type TestServer } from '../helpers/admin.ts'

describe('the status server', () => {
  let api: TestServer
  let missing: string | undefined

  beforeEach(async () => {
    missing = undefined
    api = await serve(statusApi({ ready: () => missing, log: silent, serverName: 'APISIX/3.18.0' }))
  })
  afterEach(() => api.close())

  it('is there from the beginning', async () => {
    missing = 'worker id: 0 has not received configuration'
    const reply = await api.call('GET', '/status')
    assert.deepEqual([reply.status, reply.json], [200, { status: 'ok' }])
    assert.equal(reply.headers.get('content-type'), 'application/json')
  })

  it('is ready when every worker has its configuration, and says what is missing before', async () => {
    missing = 'worker id: 0 has not received configuration'
    const before = await api.call('GET', '/status/ready')
    assert.deepEqual([before.status, before.json], [503, { status: 'error', error: missing }])
    missing = undefined
    const after = await api.call('GET', '/status/ready')
    assert.deepEqual([after.status, after.json], [200, { status: 'ok' }])
    assert.equal((await api.call('HEAD', '/status/ready')).status, 200)
  })

  it('knows nothing else', async () => {
    assert.equal((await api.call('GET', '/')).status, 404)
    assert.equal((await api.call('POST', '/status')).status, 404)
  })
})
