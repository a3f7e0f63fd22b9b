// Lists of the admin API: order, pages, filters.
import assert from 'node:assert/strict'
import { startAdmin, type TestAdmin } from '../helpers/admin.ts'

describe('a list', () => {
  let api: TestAdmin
  let ids: (query: string) => Promise<string[]>

  beforeEach(async () => {
    api = await startAdmin()
    ids = async query =>
      (await api.admin('GET', `/routes${query}`)).json.list.map((item: { value: { id: string } }) => item.value.id)
  })
  afterEach(() => api.close())

  const put = (id: string, more: Record<string, unknown> = {}) =>
    api.admin('PUT', `/routes/${id}`, { uri: `/${id}`, plugins: {}, ...more })

  it('comes whole and in the order of its keys', async () => {
    for (const id of ['b', '10', 'a', '9', 'B']) await put(id)
    assert.deepEqual(await ids(''), ['10', '9', 'B', 'a', 'b'])
    assert.deepEqual(await ids('?page=1'), ['10', '9', 'B', 'a', 'b'])
    assert.deepEqual(await ids('?page=x&page_size=y'), ['10', '9', 'B', 'a', 'b'])
  })

  it('comes in pages in the order of creation, with the total of all', async () => {
    const all = Array.from({ length: 25 }, (_, at) => `r${(at * 7) % 25}`)
    for (const id of all) await put(id)
    await put(all[0]!, { desc: 'changed later' })
    assert.deepEqual(await ids('?page=1&page_size=10'), all.slice(0, 10))
    assert.deepEqual(await ids('?page=3&page_size=10'), all.slice(20))
    assert.deepEqual(await ids('?page=-5&page_size=10'), all.slice(0, 10))
    assert.equal((await api.admin('GET', '/routes?page=4&page_size=10')).text, '{"total":25,"list":[]}\n')
  })

  it('has no pages of less than 10 or more than 500', async () => {
    for (const size of [9, 501, 0, -1]) {
      const reply = await api.admin('GET', `/routes?page=1&page_size=${size}`)
      assert.deepEqual([reply.status, reply.text], [400, 'page_size must be between 10 and 500'])
      assert.equal(reply.headers.get('content-type'), 'application/json')
    }
  })

  it('is filtered by name, uri, label and references, by all of them together', async () => {
    await api.admin('PUT', '/services/1', {})
    await api.admin('PUT', '/upstreams/2', { nodes: {} })
    await put('a', { name: 'first', labels: { team: 'x' }, service_id: 1 })
    await put('b', { name: 'second', uri: undefined, uris: ['/x', '/second/*'], upstream_id: '2', service_id: '1' })
    await put('c', { labels: { team: 'y', env: 'z' } })
    assert.deepEqual(await ids('?name=s'), ['a', 'b'])
    assert.deepEqual(await ids('?name=^s'), ['b'])
    assert.deepEqual(await ids('?name=('), [])
    assert.deepEqual(await ids('?uri=^/[ac]$'), ['a', 'c'])
    assert.deepEqual(await ids(`?uri=${encodeURIComponent('second/*')}`), ['b'])
    assert.deepEqual(await ids('?label=team'), ['a', 'c'])
    assert.deepEqual(await ids('?label=toString'), [])
    assert.deepEqual(await ids('?filter=service_id%3D1'), ['a', 'b'])
    assert.deepEqual(await ids('?filter=service_id%3D1%26upstream_id%3D2'), ['b'])
    assert.deepEqual(await ids('?filter=nobody%3D1'), ['a', 'b', 'c'])
    assert.deepEqual(await ids('?name=s&label=team&uri=a&filter=service_id%3D1'), ['a'])
    const page = await api.admin('GET', '/routes?label=team&page=1&page_size=10')
    assert.equal(page.json.total, 2)
  })

  it('is refused when a search would take for ever, while the rest goes on', async () => {
    await put('a', { name: `${'a'.repeat(200)}!` })
    const reply = await api.admin('GET', `/routes?name=${encodeURIComponent('^(a+)+$')}`)
    assert.deepEqual([reply.status, reply.json], [400, { error_msg: 'the search took longer than 200 ms' }])
    assert.deepEqual(await ids('?name=a'), ['a'])
  })

  it('shows no other kind', async () => {
    await put('a')
    assert.equal((await api.admin('GET', '/services')).json.total, 0)
  })
})
