// Who gets into the admin API, and what the others hear.
import assert from 'node:assert/strict'
import { request } from 'node:http'
import { adminKey, startAdmin, type TestAdmin, viewerKey } from '../helpers/admin.ts'

const base = '/apisix/admin'

describe('access', () => {
  let api: TestAdmin

  afterEach(() => api.close())

  const denied = (description: string) => ({ error_msg: 'failed to check token', description })

  it('needs a key, in the query, a header or a cookie, looked for in this order', async () => {
    api = await startAdmin()
    const ways: [path: string, headers: Record<string, string>, status: number][] = [
      [`${base}/routes`, { 'X-API-KEY': adminKey }, 200],
      [`${base}/routes?api_key=${adminKey}`, {}, 200],
      [`${base}/routes`, { Cookie: `a=b; x_api_key=${adminKey}` }, 200],
      [`${base}/routes?api_key=${adminKey}`, { 'X-API-KEY': 'wrong' }, 200],
      [`${base}/routes?api_key=wrong`, { 'X-API-KEY': adminKey }, 401],
      [`${base}/routes`, { 'X-API-KEY': 'wrong', Cookie: `x_api_key=${adminKey}` }, 401],
      [`${base}/routes?api_key=${adminKey}&api_key=wrong`, {}, 200],
      [`${base}/routes?api_key=wrong&api_key=${adminKey}`, {}, 401],
    ]
    for (const [path, headers, status] of ways) {
      assert.equal((await api.call('GET', path, undefined, headers)).status, status, JSON.stringify([path, headers]))
    }
  })

  it('says whether the key is missing or wrong, and nothing else', async () => {
    api = await startAdmin()
    const missing = await api.call('PUT', `${base}/routes/1`, { uri: '/a', plugins: {} })
    assert.deepEqual([missing.status, missing.json], [401, denied('missing apikey')])
    for (const key of ['x', `${adminKey}x`, adminKey.slice(0, -1), adminKey.toUpperCase()]) {
      const wrong = await api.admin('PUT', '/routes/1', { uri: '/a', plugins: {} }, key)
      assert.deepEqual([wrong.status, wrong.json], [401, denied('wrong apikey')])
    }
    assert.equal((await api.admin('GET', '/nobody/knows', undefined, 'wrong')).status, 401)
    assert.equal((await api.store.list()).revision, 0)
  })

  it('lets a viewer read and nothing else', async () => {
    api = await startAdmin()
    await api.admin('PUT', '/routes/1', { uri: '/a', plugins: {} })
    for (const path of ['/routes', '/routes/1', '/plugins/list', '/schema/route']) {
      assert.equal((await api.admin('GET', path, undefined, viewerKey)).status, 200)
    }
    for (const verb of ['PUT', 'POST', 'PATCH', 'DELETE']) {
      const reply = await api.admin(verb, '/routes/1', verb === 'DELETE' ? undefined : {}, viewerKey)
      assert.deepEqual([reply.status, reply.json], [401, denied('invalid method for role viewer')])
    }
    assert.equal((await api.admin('POST', '/schema/validate/routes', {}, viewerKey)).status, 401)
  })

  it('takes any role but viewer for an admin, and never an empty key', async () => {
    api = await startAdmin({
      keys: [
        { name: 'ops', key: 'k', role: 'operator' },
        { name: 'none', key: '', role: 'admin' },
      ],
    })
    assert.equal((await api.admin('PUT', '/routes/1', { uri: '/a', plugins: {} }, 'k')).status, 201)
    assert.equal((await api.admin('GET', '/routes', undefined, '')).status, 401)
    assert.equal((await api.call('GET', `${base}/routes?api_key=`)).status, 401)
  })

  it('needs no key where none is asked for', async () => {
    api = await startAdmin({ keys: undefined })
    assert.equal((await api.call('PUT', `${base}/routes/1`, { uri: '/a', plugins: {} })).status, 201)
  })

  it('keeps everybody out who does not come from where admins come from, before anything else', async () => {
    api = await startAdmin({ allowAdmin: ['10.0.0.0/8', '::1'] })
    for (const [verb, path] of [
      ['GET', '/routes'],
      ['OPTIONS', '/routes'],
      ['HEAD', ''],
    ] as const) {
      assert.equal((await api.admin(verb, path)).status, 403)
    }
    await api.close()
    api = await startAdmin({ allowAdmin: [] })
    assert.equal((await api.admin('GET', '/routes')).status, 200)
    await assert.rejects(startAdmin({ allowAdmin: ['10.0.0.0/99'] }), /10\.0\.0\.0\/99/)
  })

  it('tells a liveness probe without a key that it is there', async () => {
    api = await startAdmin()
    const head = await api.call('HEAD', base)
    assert.deepEqual([head.status, head.text], [200, ''])
    assert.equal((await api.call('HEAD', `${base}/routes`)).status, 401)
    assert.equal((await api.admin('HEAD', '/routes')).status, 200)
  })

  it('lets browsers of other origins ask, with a preflight that needs no key', async () => {
    api = await startAdmin()
    const preflight = await new Promise<Record<string, unknown>>((resolve, reject) => {
      request(`${api.url}${base}/routes/1`, { method: 'OPTIONS' }, answer => {
        answer.resume()
        resolve({ status: answer.statusCode, ...answer.headers })
      })
        .on('error', reject)
        .end()
    })
    const expected = {
      status: 200,
      'access-control-allow-origin': '*',
      'access-control-allow-methods': 'POST, GET, PUT, OPTIONS, DELETE, PATCH',
      'access-control-allow-headers': '*',
      'access-control-allow-credentials': 'true',
      'access-control-max-age': '3600',
      'content-length': '0',
      'content-type': 'text/plain',
    }
    for (const [name, value] of Object.entries(expected)) assert.equal(preflight[name], value, name)
    for (const reply of [await api.admin('GET', '/routes'), await api.call('GET', `${base}/routes`)]) {
      assert.equal(reply.headers.get('access-control-allow-origin'), '*')
      assert.equal(reply.headers.get('access-control-expose-headers'), '*')
    }
  })

  it('has no word for browsers of other origins where they may not ask', async () => {
    api = await startAdmin({ cors: false })
    const reply = await api.call('OPTIONS', `${base}/routes`)
    assert.equal(reply.status, 401)
    assert.equal(reply.headers.get('access-control-allow-origin'), null)
    assert.equal((await api.admin('OPTIONS', '/routes')).status, 405)
  })
})
