// The whole configuration as one document: validated anywhere, put and got where the gateway stands alone.
import assert from 'node:assert/strict'
import { configsOf } from '../../admin/configs.ts'
import { Keyring } from '../../core/keyring.ts'
import type { ReadDocument } from '../../core/standalone/document.ts'
import { parseYaml } from '../../core/standalone/text.ts'
import { DocumentSource } from '../../core/store/document-source.ts'
import { adminKey, fakePlugins, type Reply, startAdmin, type TestAdmin, viewerKey } from '../helpers/admin.ts'

const path = '/apisix/admin/configs'
const route = (id: string, more: object = {}) => ({ id, uri: '/a', plugins: {}, ...more })
const pluginChoice = { known: fakePlugins, enabled: fakePlugins }

describe('validating a configuration', () => {
  let api: TestAdmin

  beforeEach(async () => {
    api = await startAdmin()
  })
  afterEach(async () => {
    assert.equal((await api.store.list()).revision, 0)
    await api.close()
  })

  const validate = (body: unknown, type = 'application/json') =>
    api.call('POST', `${path}/validate`, body, { 'X-API-KEY': adminKey, 'Content-Type': type })

  it('says nothing of one that is good, whatever it refers to', async () => {
    const good = await validate({ routes: [route('1', { service_id: 'nobody' })], consumers: [{ username: 'jack' }] })
    assert.deepEqual([good.status, good.text], [200, '{}\n'])
    assert.equal((await validate('routes:\n  - id: 1\n    uri: /a\n    plugins: {}', 'application/yaml')).status, 200)
  })

  it('says everything that is wrong with one', async () => {
    const reply = await validate({
      routes: [route('r1', { uri: 1 }), route('r2'), route('r2')],
      services_conf_version: 'x',
      consumers: [{ username: 'jack', plugins: { nobody: {} } }],
    })
    const uri = 'invalid configuration: property "uri" validation failed: wrong type: expected string, got number'
    assert.deepEqual(
      [reply.status, reply.json],
      [
        400,
        {
          error_msg: 'Configuration validation failed',
          errors: [
            { resource_type: 'routes', resource_id: 'r1', index: 0, error: uri },
            { resource_type: 'routes', resource_id: 'r2', index: 2, error: 'found duplicate id r2 in routes' },
            { resource_type: 'services', error: 'services_conf_version must be a number, got string' },
            {
              resource_type: 'consumers',
              resource_id: 'jack',
              index: 0,
              error: 'invalid plugins configuration: unknown plugin [nobody]',
            },
          ],
        },
      ],
    )
  })

  it('needs a document', async () => {
    for (const [body, type, said] of [
      ['', 'application/json', /^invalid request body: empty request body$/],
      [' \n', 'application/yaml', /^invalid request body: empty request body$/],
      ['{\n"a"', 'application/json', /^invalid request body: line 2: is not JSON$/],
      ['a: [\n', 'application/yaml', /^invalid yaml request body: line 2: /],
      ['[]', 'application/json', /^invalid request body: expected an object of collections$/],
      ['text', 'application/yaml', /^invalid request body: expected an object of collections$/],
    ] as const) {
      const reply = await validate(body, type)
      assert.equal(reply.status, 400)
      assert.match(reply.json.error_msg, said)
    }
  })

  it('is refused to a viewer, as every POST', async () => {
    assert.equal((await api.admin('POST', '/configs/validate', {}, viewerKey)).status, 401)
  })
})

describe('a configuration that is put as one document', () => {
  let api: TestAdmin
  let source: DocumentSource
  let read: ReadDocument | undefined

  beforeEach(async () => {
    source = new DocumentSource()
    read = undefined
    const configs = configsOf({
      plugins: pluginChoice,
      keyring: new Keyring([]),
      now: () => 1_700_000_000_000,
      apply: async document => {
        read = document
        return source.swap(document.entries)
      },
    })
    api = await startAdmin({ items: undefined, configs, pluginChoice })
  })
  afterEach(() => api.close())

  const put = (body: unknown, digest: string, headers: Record<string, string> = {}) =>
    api.call('PUT', path, body, { 'X-API-KEY': adminKey, ...(digest !== '' && { 'X-Digest': digest }), ...headers })
  const get = (headers: Record<string, string> = {}) =>
    api.call('GET', path, undefined, { 'X-API-KEY': adminKey, ...headers })
  const served = async () => (await source.list()).items.map(({ kind, id }) => `${kind}/${id}`)
  const isError = (reply: Reply, message: string) =>
    assert.deepEqual([reply.status, reply.json], [400, { error_msg: message }])

  const none = [
    ...['routes', 'services', 'upstreams', 'consumers', 'ssls', 'global_rules', 'plugin_configs', 'consumer_groups'],
    ...['plugin_metadata', 'protos', 'secrets', 'stream_routes', 'plugins'],
  ].map(name => [`${name}_conf_version`, 0])

  it('is empty before the first, at version 0 of everything', async () => {
    const { status, json, headers } = await get()
    assert.deepEqual([status, json], [200, Object.fromEntries(none)])
    assert.equal(headers.get('x-digest'), null)
    assert.equal(headers.get('x-last-modified'), null)
  })

  it('is served, and comes back as it was put, in JSON or YAML, or only its headers', async () => {
    const accepted = await put({ routes: [route('1', { modifiedIndex: 5 })], consumers: [] }, 'd1')
    assert.deepEqual([accepted.status, accepted.text], [202, ''])
    assert.deepEqual(await served(), ['routes/1'])
    const whole = Object.fromEntries(none.map(([name]) => [name, 1]))
    const json = await get()
    assert.deepEqual(json.json, { ...whole, routes: [route('1', { modifiedIndex: 5 })], consumers: [] })
    const yaml = await get({ Accept: 'application/yaml' })
    assert.equal(yaml.headers.get('content-type'), 'application/yaml')
    assert.deepEqual((await parseYaml('', yaml.text)).value, json.json)
    const head = await api.call('HEAD', path, undefined, { 'X-API-KEY': adminKey })
    assert.equal(head.text, '')
    for (const { headers } of [accepted, json, yaml, head]) {
      assert.equal(headers.get('x-digest'), 'd1')
      assert.equal(headers.get('x-last-modified'), '1700000000')
    }
  })

  it('may be YAML', async () => {
    const text = 'routes:\n  - id: 1\n    uri: /a\n    plugins: {}\n'
    assert.equal((await put(text, 'd1', { 'Content-Type': 'application/yaml' })).status, 202)
    assert.deepEqual(await served(), ['routes/1'])
    const broken = await put('routes: [\n', 'd2', { 'Content-Type': 'application/yaml' })
    assert.match(broken.json.error_msg, /^invalid yaml request body/)
  })

  it('needs a digest, and changes nothing when the digest is that of before', async () => {
    isError(await put({}, ''), 'missing digest header')
    await put({ routes: [route('1')] }, 'd1')
    const same = await put({ routes: [route('2')] }, 'd1')
    assert.deepEqual([same.status, same.text, same.headers.get('x-digest')], [204, '', 'd1'])
    assert.deepEqual(await served(), ['routes/1'])
  })

  it('replaces everything, but for collections whose version stays', async () => {
    await put({ routes: [route('1')], routes_conf_version: 3, services: [{ id: 's' }] }, 'd1')
    await put({ routes: [route('2')], routes_conf_version: 3 }, 'd2')
    assert.deepEqual(await served(), ['routes/1'])
    isError(
      await put({ routes: [route('2')], routes_conf_version: 2 }, 'd3'),
      'routes_conf_version must be greater than or equal to (3)',
    )
    isError(await put({ routes_conf_version: '4' }, 'd3'), 'routes_conf_version must be a number')
    await put({ routes: [route('2')], routes_conf_version: 9 }, 'd3')
    assert.deepEqual(await served(), ['routes/2'])
    await put({}, 'd4')
    assert.deepEqual(await served(), [])
    assert.equal((await get()).json.routes_conf_version, 10)
  })

  it('is refused whole for the first thing that is wrong with it', async () => {
    await put({ routes: [route('1')] }, 'd1')
    const string = 'invalid configuration: property "uri" validation failed: wrong type: expected string, got number'
    isError(
      await put({ routes: [route('2'), route('3', { uri: 5 })] }, 'd2'),
      `invalid routes at index 1, err: ${string}`,
    )
    isError(await put({ routes: [route('2'), route('2')] }, 'd2'), 'found duplicate id 2 in routes')
    isError(await put({ routes: 5 }, 'd2'), 'routes must be an array')
    isError(await put('', 'd2'), 'invalid request body: empty request body')
    assert.deepEqual(await served(), ['routes/1'])
    assert.equal((await get()).headers.get('x-digest'), 'd1')
  })

  it('may say which plugins are enabled', async () => {
    assert.equal(
      (await put({ plugins: [{ name: 'late' }], routes: [route('1', { plugins: { late: {} } })] }, 'd1')).status,
      202,
    )
    assert.deepEqual(read?.plugins, ['late'])
    isError(
      await put({ plugins: [{ name: 'key-auth' }], routes: [route('1', { plugins: { late: {} } })] }, 'd2'),
      'invalid routes at index 0, err: unknown plugin [late]',
    )
  })

  it('warns of what means nothing', async () => {
    const reply = await put({ route: [], routes: [] }, 'd1')
    assert.deepEqual([reply.status, reply.headers.get('x-sluice-warning')], [202, 'route has no effect'])
  })

  it('is written on the document that was seen, if that is asked for', async () => {
    await put({ routes: [route('1')] }, 'd1')
    const tag = (await get()).headers.get('etag') ?? ''
    assert.equal((await put({ routes: [route('2')] }, 'd2', { 'If-Match': tag })).status, 202)
    const late = await put({ routes: [route('3')] }, 'd3', { 'If-Match': tag })
    const error_msg = 'precondition failed: the current revision is 2'
    assert.deepEqual([late.status, late.json], [412, { error_msg, revision: 2 }])
    assert.deepEqual(await served(), ['routes/2'])
    assert.equal((await put({}, 'd4', { 'If-Match': (await get()).headers.get('etag') ?? '' })).status, 202)
  })

  it('shows a viewer no secrets', async () => {
    const ai = { provider: 'openai', auth: { header: { Authorization: 'top-secret' } } }
    await put({ routes: [route('1', { plugins: { 'ai-proxy': ai } })] }, 'd1')
    assert.ok((await get()).text.includes('top-secret'))
    const seen = await api.admin('GET', '/configs', undefined, viewerKey)
    assert.equal(seen.json.routes[0].plugins['ai-proxy'].auth.header.Authorization, '***')
    assert.equal((await api.admin('PUT', '/configs', {}, viewerKey)).status, 401)
  })

  it('is the only way: items have no paths', async () => {
    for (const verb of ['GET', 'PUT', 'POST', 'PATCH', 'DELETE']) {
      const body = verb === 'GET' || verb === 'DELETE' ? undefined : {}
      for (const path of ['/routes', '/routes/1', '/consumers/jack/credentials/1']) {
        assert.equal((await api.admin(verb, path, body)).status, 404)
      }
    }
    for (const verb of ['POST', 'PATCH', 'DELETE']) {
      assert.equal((await api.admin(verb, '/configs', verb === 'DELETE' ? undefined : {})).status, 404)
    }
    assert.equal((await api.admin('GET', '/schema/route')).status, 200)
  })
})
