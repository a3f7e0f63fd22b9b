// Entity tags: who edits what another may edit too can ask for the version they saw; nobody else notices.
import assert from 'node:assert/strict'
import { type Reply, startAdmin, type TestAdmin } from '../helpers/admin.ts'
import { sampleList } from '../helpers/samples.ts'

describe('entity tags', () => {
  let api: TestAdmin
  const route = { uri: '/a', plugins: {} }

  beforeEach(async () => {
    api = await startAdmin()
  })
  afterEach(() => api.close())

  const call = (method: string, path: string, headers: Record<string, string>, body?: unknown) =>
    api.call(method, `/apisix/admin${path}`, body, { 'X-API-KEY': 'the-key-of-the-admin', ...headers })
  const etag = (reply: Reply) => reply.headers.get('etag') ?? ''

  function isFailed(reply: Reply, revision: number): void {
    const error_msg = `precondition failed: the current revision is ${revision}`
    assert.deepEqual([reply.status, reply.json], [412, { error_msg, revision }])
  }

  it('come with every GET, and stay while nothing changes', async () => {
    for (const [, { collection, id, value, first }] of sampleList) {
      if (first !== undefined) await api.admin('PUT', ...first)
      await api.admin('PUT', `/${collection}/${id}`, value)
      for (const path of [`/${collection}`, `/${collection}/${id}`]) {
        const [one, two] = [await api.admin('GET', path), await api.admin('GET', path)]
        assert.match(etag(one), /^"\d+"$/, path)
        assert.equal(etag(one), etag(two))
      }
    }
    for (const path of ['/schema/route', '/plugins/list', '/plugins/late', '/plugins?all=true']) {
      const [one, two] = [await api.admin('GET', path), await api.admin('GET', path)]
      assert.match(etag(one), /^"[0-9a-f]{64}"$/, path)
      assert.equal(etag(one), etag(two))
    }
  })

  it('save who has the answer already from getting it again', async () => {
    await api.admin('PUT', '/routes/1', route)
    for (const path of ['/routes', '/routes/1', '/schema/route']) {
      const tag = etag(await api.admin('GET', path))
      // fetch would ask for no-cache, which is to ask for the answer again.
      const revalidate = { 'Cache-Control': 'max-age=0' }
      const again = await call('GET', path, { 'If-None-Match': tag, ...revalidate })
      assert.deepEqual([again.status, again.text], [304, ''], path)
      assert.equal((await call('GET', path, { 'If-None-Match': '"other"', ...revalidate })).status, 200)
    }
  })

  it('change with the item, and with any item of a list', async () => {
    const written = await api.admin('PUT', '/routes/1', route)
    await api.admin('PUT', '/routes/2', route)
    const [item, list] = [etag(await api.admin('GET', '/routes/1')), etag(await api.admin('GET', '/routes'))]
    assert.equal(etag(written), item)
    await api.admin('PUT', '/services/1', {})
    assert.equal(etag(await api.admin('GET', '/routes')), list)
    await api.admin('DELETE', '/routes/2')
    assert.equal(etag(await api.admin('GET', '/routes/1')), item)
    assert.notEqual(etag(await api.admin('GET', '/routes')), list)
    const patched = await api.admin('PATCH', '/routes/1', { desc: 'x' })
    assert.equal(etag(patched), etag(await api.admin('GET', '/routes/1')))
    assert.notEqual(etag(patched), item)
  })

  it('let a write through while the item is the one that was seen, and only then', async () => {
    const first = etag(await api.admin('PUT', '/routes/1', route))
    const second = etag(await call('PUT', '/routes/1', { 'If-Match': first }, route))
    assert.notEqual(first, second)
    isFailed(await call('PUT', '/routes/1', { 'If-Match': first }, route), 2)
    isFailed(await call('PATCH', '/routes/1', { 'If-Match': first }, { desc: 'x' }), 2)
    isFailed(await call('PATCH', '/routes/1/desc', { 'If-Match': first }, '"x"'), 2)
    isFailed(await call('DELETE', '/routes/1', { 'If-Match': first }), 2)
    isFailed(await call('PUT', '/routes/1', { 'If-Match': `W/${second}` }, route), 2)
    const third = await call('PATCH', '/routes/1', { 'If-Match': `"77", ${second}` }, { desc: 'x' })
    assert.equal(third.status, 200)
    assert.equal((await call('DELETE', '/routes/1', { 'If-Match': etag(third) })).status, 200)
  })

  it('tell making from changing', async () => {
    isFailed(await call('PUT', '/routes/1', { 'If-Match': '*' }, route), 0)
    isFailed(await call('DELETE', '/routes/1', { 'If-Match': '"5"' }), 0)
    assert.equal((await call('PUT', '/routes/1', { 'If-None-Match': '*' }, route)).status, 201)
    isFailed(await call('PUT', '/routes/1', { 'If-None-Match': '*' }, route), 1)
    assert.equal((await call('PUT', '/routes/1', { 'If-Match': '*' }, route)).status, 200)
    assert.equal((await call('DELETE', '/routes/1', { 'If-Match': '*' })).status, 200)
  })

  it('of a list say whether anything came before a POST', async () => {
    const list = etag(await api.admin('GET', '/routes'))
    assert.equal((await call('POST', '/routes', { 'If-Match': list }, route)).status, 201)
    isFailed(await call('POST', '/routes', { 'If-Match': list }, route), 1)
  })

  it('hold against somebody who writes at the same moment', async () => {
    const tag = etag(await api.admin('PUT', '/routes/1', route))
    api.store.beforeWrite = async changes => {
      api.store.beforeWrite = () => {}
      await api.store.write(changes)
    }
    isFailed(await call('PUT', '/routes/1', { 'If-Match': tag }, route), 2)
    assert.equal((await call('PUT', '/routes/1', { 'If-Match': '"2"' }, route)).status, 200)
  })
})
