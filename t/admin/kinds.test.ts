// The endpoint matrix of the admin API (facts core 4.2): every row through the front door.
import assert from 'node:assert/strict'
import { targetOf } from '../../admin/kinds.ts'
import { type Reply, startAdmin, type TestAdmin } from '../helpers/admin.ts'
import { samples } from '../helpers/samples.ts'

type Kind = keyof typeof samples

/** POST, PUT of a new one, PATCH, PATCH of a part; what everybody has is in the test. */
const matrix: readonly [kind: Kind, name: string, post: number, patch: number, part: number][] = [
  ['routes', 'route', 201, 200, 200],
  ['services', 'service', 201, 200, 200],
  ['upstreams', 'upstream', 201, 200, 200],
  ['ssls', 'ssl', 201, 200, 200],
  ['protos', 'proto', 201, 405, 405],
  ['global_rules', 'global rule', 405, 200, 200],
  ['plugin_configs', 'plugin config', 405, 200, 200],
  ['consumer_groups', 'consumer group', 405, 200, 200],
  ['consumers', 'consumer', 405, 405, 405],
  ['credentials', 'credential', 405, 405, 405],
  ['plugin_metadata', 'plugin_metadata', 405, 405, 405],
  ['secrets', 'secret', 405, 200, 200],
  ['graphql_cost_decorations', 'graphql cost decoration', 201, 200, 404],
]

describe('the endpoint matrix', () => {
  let api: TestAdmin

  beforeEach(async () => {
    api = await startAdmin()
  })
  afterEach(() => api.close())

  function isError(reply: Reply, status: number, body: object): void {
    assert.deepEqual([reply.status, reply.json], [status, body])
  }

  for (const [kind, name, post, patch, part] of matrix) {
    const { collection, id, value, first, change } = samples[kind]
    const path = `/${collection}/${id}`
    const unsupported = (verb: string) => ({ error_msg: `not supported \`${verb}\` method for ${name}` })

    it(`has a row for ${kind}`, async () => {
      if (first !== undefined) assert.equal((await api.admin('PUT', ...first)).status, 201)
      const empty = await api.admin('GET', `/${collection}`)
      if (kind === 'credentials') isError(empty, 404, { message: 'Key not found' })
      else assert.deepEqual([empty.status, empty.text], [200, '{"total":0,"list":[]}\n'])
      for (const verb of ['GET', 'DELETE']) isError(await api.admin(verb, path), 404, { message: 'Key not found' })
      if (patch === 200) {
        for (const below of ['', `/${change[0]}`].slice(0, part === 200 ? 2 : 1)) {
          isError(await api.admin('PATCH', path + below, {}), 404, { message: 'Key not found' })
        }
      }

      assert.equal((await api.admin('PUT', path, value)).status, 201)
      assert.equal((await api.admin('PUT', path, { ...value, [change[0]]: change[1] })).status, 200)
      assert.deepEqual((await api.admin('GET', path)).json.value[change[0]], change[1])
      assert.equal((await api.admin('GET', `/${collection}`)).json.total, 1)

      const posted = await api.admin('POST', `/${collection}`, value)
      if (post === 201) assert.equal(posted.status, 201, posted.text)
      else isError(posted, 405, unsupported('POST'))
      const patched = await api.admin('PATCH', path, { [change[0]]: change[1] })
      if (patch === 200) assert.deepEqual([patched.status, patched.json.value[change[0]]], [200, change[1]])
      else isError(patched, 405, unsupported('PATCH'))
      const partly = await api.admin('PATCH', `${path}/${change[0]}`, JSON.stringify(change[1]))
      if (part === 200) assert.deepEqual([partly.status, partly.json.value[change[0]]], [200, change[1]])
      else isError(partly, part, part === 404 ? { error_msg: 'not found' } : unsupported('PATCH'))

      const deleted = await api.admin('DELETE', path)
      assert.deepEqual([deleted.status, deleted.json], [200, { deleted: '1', key: `/apisix/${collection}/${id}` }])
      isError(await api.admin('GET', path), 404, { message: 'Key not found' })
      for (const verb of ['OPTIONS', 'LOCK', 'PROPFIND']) {
        assert.equal((await api.admin(verb, path)).status, verb === 'OPTIONS' ? 200 : 405)
      }
    })
  }

  it('has no row that is not tested', () => {
    assert.deepEqual(matrix.map(([kind]) => kind).sort(), Object.keys(samples).sort())
  })

  it('has a row for stream_routes, for where only http is proxied', async () => {
    for (const verb of ['GET', 'PUT', 'POST', 'PATCH', 'DELETE']) {
      for (const path of ['/stream_routes', '/stream_routes/1']) {
        const body = verb === 'GET' || verb === 'DELETE' ? undefined : {}
        isError(await api.admin(verb, path, body), 400, {
          error_msg: 'stream mode is disabled, can not add stream routes',
        })
      }
    }
  })
})

describe('a path of the admin API', () => {
  const seen = (path: string) => {
    const target = targetOf(path.split('/'))
    return target && [target.kind.kind, target.parent, target.name, target.path.join('/')]
  }

  it('leads to a collection, an item, or into a value', () => {
    assert.deepEqual(seen('routes'), ['routes', undefined, undefined, ''])
    assert.deepEqual(seen('routes/1'), ['routes', undefined, '1', ''])
    assert.deepEqual(seen('routes/1/upstream/nodes'), ['routes', undefined, '1', 'upstream/nodes'])
    assert.deepEqual(seen('secrets/vault/1/token'), ['secrets', undefined, 'vault/1', 'token'])
    assert.deepEqual(seen('secrets/vault'), ['secrets', undefined, 'vault', ''])
    assert.deepEqual(seen('consumers/jack/credentials'), ['credentials', 'jack', undefined, ''])
    assert.deepEqual(seen('consumers/jack/credentials/1'), ['credentials', 'jack', '1', ''])
    assert.deepEqual(seen('services/1/graphql_cost_decorations/2/x'), ['graphql_cost_decorations', '1', '2', 'x'])
  })

  it('leads below an item only where something is kept below it', () => {
    assert.deepEqual(seen('services/1/credentials/2'), ['services', undefined, '1', 'credentials/2'])
    assert.deepEqual(seen('routes/1/credentials'), ['routes', undefined, '1', 'credentials'])
    for (const path of ['credentials', 'credentials/1', 'graphql_cost_decorations', 'toString', '']) {
      assert.equal(seen(path), undefined)
    }
  })
})
