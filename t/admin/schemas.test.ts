// What the admin API tells forms and validators about what can be configured.
import assert from 'node:assert/strict'
import { type Reply, startAdmin, type TestAdmin } from '../helpers/admin.ts'
import { sampleList } from '../helpers/samples.ts'

function isError(reply: Reply, status: number, message: string): void {
  assert.deepEqual([reply.status, reply.json], [status, { error_msg: message }])
}

describe('schemas', () => {
  let api: TestAdmin

  beforeEach(async () => {
    api = await startAdmin()
  })
  afterEach(() => api.close())

  it('of resources are there by their name', async () => {
    for (const [name, attribute] of [
      ['route', 'uri'],
      ['service', 'upstream'],
      ['upstream', 'nodes'],
      ['consumer', 'username'],
      ['global_rule', 'plugins'],
      ['credential', 'plugins'],
      ['ssl', 'cert'],
      ['consumer_group', 'plugins'],
      ['plugin_config', 'plugins'],
      ['proto', 'content'],
      ['stream_route', 'sni'],
      ['graphql_cost_decoration', 'field_path'],
    ] as const) {
      const reply = await api.admin('GET', `/schema/${name}`)
      assert.equal(reply.status, 200)
      assert.ok(attribute in reply.json.properties)
    }
    assert.equal((await api.admin('GET', '/schema/plugins')).json.items.properties.name.type, 'string')
    for (const name of ['upstream_hash_header_schema', 'upstream_hash_vars_schema']) {
      assert.equal((await api.admin('GET', `/schema/${name}`)).json.type, 'string')
    }
    for (const name of ['nobody', 'routes', 'toString', 'plugin_metadata']) {
      isError(await api.admin('GET', `/schema/${name}`), 400, `not found schema: ${name}`)
    }
  })

  it('of plugins have _meta, and that of consumers where asked for', async () => {
    for (const path of ['/schema/plugins/key-auth', '/plugins/key-auth', '/plugins/key-auth?subsystem=http']) {
      const { json } = await api.admin('GET', path)
      assert.deepEqual(Object.keys(json.properties), ['header', '_meta'])
    }
    const consumer = await api.admin('GET', '/plugins/key-auth?schema_type=consumer')
    assert.deepEqual(Object.keys(consumer.json.properties), ['key', '_meta'])
    isError(await api.admin('GET', '/plugins/late?schema_type=consumer'), 400, 'not found schema')
    isError(await api.admin('GET', '/plugins/late?schema_type=metadata'), 400, 'not found schema')
    const metadata = await api.admin('GET', '/schema/plugins/ai-proxy?schema_type=metadata')
    assert.deepEqual(Object.keys(metadata.json.properties), ['log_format'])
    isError(await api.admin('GET', '/plugins/nobody'), 404, 'plugin not found in subsystem http')
    isError(await api.admin('GET', '/plugins/late?subsystem=stream'), 404, 'plugin not found in subsystem stream')
    isError(await api.admin('GET', '/plugins/late?subsystem=x'), 400, 'unsupported subsystem: x')
  })

  it('of all plugins come as a map, and their names by priority', async () => {
    const names = await api.admin('GET', '/plugins/list')
    assert.deepEqual([names.status, names.json], [200, ['key-auth', 'ai-proxy', 'late']])
    assert.deepEqual((await api.admin('GET', '/plugins/list?subsystem=stream')).json, [])
    const wrong = await api.admin('GET', '/plugins/list?subsystem=x')
    assert.deepEqual([wrong.status, wrong.text], [400, 'invalid subsystem passed'])
    const { json } = await api.admin('GET', '/plugins?all=true')
    assert.deepEqual(Object.keys(json).sort(), ['ai-proxy', 'key-auth', 'late'])
    assert.deepEqual([json['key-auth'].priority, json['key-auth'].version, json['key-auth'].type], [2500, 0.1, 'auth'])
    assert.ok('key' in json['key-auth'].consumer_schema.properties)
    assert.ok('log_format' in json['ai-proxy'].metadata_schema.properties)
    assert.deepEqual((await api.admin('GET', '/plugins?all=true&subsystem=stream')).json, {})
  })

  it('validate a value and nothing beyond it', async () => {
    const value = { uri: '/a', upstream_id: 'nobody', plugins: { nobody: {} } }
    const fits = await api.admin('POST', '/schema/validate/routes', value)
    assert.deepEqual([fits.status, fits.text], [200, ''])
    isError(
      await api.admin('POST', '/schema/validate/routes', { ...value, uri: 1 }),
      400,
      'property "uri" validation failed: wrong type: expected string, got number',
    )
    isError(await api.admin('POST', '/schema/validate/nobody', value), 400, 'not found schema: nobody')
    assert.equal((await api.admin('POST', '/schema/validate/routes', '{')).status, 400)
    isError(await api.admin('POST', '/schema/validate/routes'), 400, 'wrong type: expected object, got nil')
  })

  it('validate a value of every kind', async () => {
    for (const [kind, { id, value }] of sampleList) {
      const whole = kind === 'consumers' ? value : { ...value, id }
      const reply = await api.admin('POST', `/schema/validate/${kind}`, whole)
      assert.deepEqual([reply.status, reply.text], [200, ''], kind)
      assert.equal((await api.admin('POST', `/schema/validate/${kind}`, '5')).status, 400)
    }
    isError(await api.admin('POST', '/schema/validate/secrets', { id: 'vault/1' }), 400, 'property "uri" is required')
  })

  it('have no other verbs', async () => {
    for (const [verb, path] of [
      ['PUT', '/schema/route'],
      ['DELETE', '/plugins/late'],
      ['GET', '/schema/validate/routes'],
      ['GET', '/plugins'],
      ['POST', '/plugins/list'],
      ['GET', '/schema'],
      ['GET', '/configs/validate'],
      ['GET', '/configs'],
      ['PUT', '/configs'],
    ] as const) {
      isError(await api.admin(verb, path), 404, 'not found')
    }
  })
})

describe('reloading plugins', () => {
  it('is done when it says so, and is asked for by PUT', async () => {
    let reloads = 0
    const api = await startAdmin({
      reload: async () => {
        await new Promise(resolve => setImmediate(resolve))
        reloads++
      },
    })
    const done = await api.admin('PUT', '/plugins/reload')
    assert.deepEqual([done.status, done.text, reloads], [200, 'done', 1])
    for (const verb of ['GET', 'POST', 'PATCH', 'DELETE']) {
      const reply = await api.admin(verb, '/plugins/reload')
      const said = `please use PUT method to reload the plugins, ${verb} method is not allowed.`
      isError(reply, 405, said)
    }
    assert.equal(reloads, 1)
    await api.close()
  })
})
