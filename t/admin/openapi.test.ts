// The OpenAPI document: that it is one, that it knows everything, and that what it says is so.
import assert from 'node:assert/strict'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { kinds } from '../../admin/kinds.ts'
import { schema2020 } from '../../admin/schema-2020.ts'
import type { Schema } from '../../core/plugin.ts'
import { startAdmin, type TestAdmin } from '../helpers/admin.ts'
import { Office, prepaid } from '../helpers/office.ts'
import { sampleList, samples } from '../helpers/samples.ts'

// biome-ignore lint/suspicious/noExplicitAny: any JSON
type Json = any

describe('the OpenAPI document', () => {
  let api: TestAdmin
  let document: Json

  beforeEach(async () => {
    const office = new Office(undefined)
    await office.spend(office.account({ ...prepaid, name: 'late' }), 1)
    api = await startAdmin({ books: office.books })
    document = (await api.admin('GET', '/openapi.json')).json
  })
  afterEach(() => api.close())

  function at(ref: string): Json {
    return ref
      .slice(2)
      .split('/')
      .reduce((inner, step) => inner?.[step], document)
  }

  it('is served to who has a key, with a tag', async () => {
    assert.equal(document.openapi, '3.1.0')
    assert.equal(document.servers[0].url, '/apisix/admin')
    assert.equal((await api.call('GET', '/apisix/admin/openapi.json')).status, 401)
    assert.match((await api.admin('GET', '/openapi.json')).headers.get('etag') ?? '', /^"/)
  })

  it('has every kind with every verb that it has', () => {
    for (const { kind, verbs, directory, nested, segments, subPaths } of kinds) {
      const collection = nested ? `/${directory}/{parent}/${kind}` : `/${kind}`
      const item = document.paths[`${collection}/${segments === 2 ? '{manager}/{id}' : '{id}'}`]
      if (kind === 'stream_routes') {
        assert.equal(item, undefined)
        continue
      }
      assert.equal(document.paths[collection].post !== undefined, verbs.has('POST'))
      assert.deepEqual(
        Object.keys(item)
          .filter(verb => verb !== 'parameters')
          .map(verb => verb.toUpperCase())
          .sort(),
        [...verbs].filter(verb => verb !== 'POST').sort(),
      )
      const deep = Object.keys(document.paths).some(
        path => path.startsWith(`${collection}/`) && path.endsWith('{path}'),
      )
      assert.equal(deep, verbs.has('PATCH') && subPaths, kind)
    }
  })

  it('refers to nothing that it has not, names its parameters, and no operation twice', () => {
    const refs = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map(([, ref]) => ref!)
    assert.ok(refs.length > 100)
    for (const ref of refs) assert.ok(at(ref) !== undefined, ref)
    const operations = Object.entries<Json>(document.paths).flatMap(([path, { parameters = [], ...verbs }]) =>
      Object.values<Json>(verbs).map(operation => ({ path, operation, parameters })),
    )
    for (const { path, operation, parameters } of operations) {
      const declared = [...parameters, ...(operation.parameters ?? [])]
        .map(each => (each.$ref ? at(each.$ref) : each))
        .filter(each => each.in === 'path')
      const wanted = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)
      assert.deepEqual(declared.map(({ name }: Json) => name).sort(), wanted.sort(), path)
      assert.ok(Object.keys(operation.responses).length > 0)
    }
    const ids = operations.map(({ operation }) => operation.operationId)
    assert.equal(new Set(ids).size, ids.length)
  })

  it('has schemas that validators of 2020-12 take, and that take what the API takes', () => {
    const ajv = new Ajv2020({ strict: false })
    addFormats.default(ajv)
    ajv.addSchema({ $id: 'document', ...document })
    for (const [kind, { value, id }] of sampleList) {
      const validate = ajv.compile({ $ref: `document#/components/schemas/${kind}` })
      const whole = kind === 'consumers' ? value : { ...value, id }
      assert.ok(validate(whole), `${kind}: ${JSON.stringify(validate.errors)}`)
    }
    const route = ajv.compile({ $ref: 'document#/components/schemas/routes' })
    const wrong = [{ plugins: { nobody: {} } }, { plugins: { 'ai-proxy': {} } }, { uri: 5 }, { surprise: 1 }]
    for (const more of wrong) assert.ok(!route({ uri: '/a', plugins: {}, ...more }), JSON.stringify(more))
    const consumer = ajv.compile({ $ref: 'document#/components/schemas/consumers' })
    assert.ok(!consumer({ username: 'jack', plugins: { 'key-auth': {} } }))
  })

  it('speaks of paths that there are', async () => {
    for (const [, { first }] of sampleList) if (first !== undefined) await api.admin('PUT', ...first)
    for (const [, { collection, id, value }] of sampleList) await api.admin('PUT', `/${collection}/${id}`, value)
    const known: Record<string, string> = {
      name: 'late',
      collection: 'routes',
      manager: 'vault',
      path: 'desc',
      principal: 'consumer:jack',
      act: 'top_up',
    }
    for (const [path, { parameters: _, ...verbs }] of Object.entries<Json>(document.paths)) {
      const kind = kinds.find(each => path.includes(`/${each.kind}/{id}`) || path.includes(`/${each.kind}/{manager}`))
      const sample = kind === undefined ? undefined : samples[kind.kind as keyof typeof samples]
      const parent = path.startsWith('/consumers') ? 'rose' : 's2'
      const filled = path
        .replace('/schema/{name}', '/schema/route')
        .replace(/\{(\w+)\}/g, (_, name: string) =>
          name === 'id' ? sample!.id.split('/').at(-1)! : name === 'parent' ? parent : known[name]!,
        )
      for (const verb of Object.keys(verbs).filter(each => each !== 'delete')) {
        const query = path === '/plugins' ? '?all=true' : ''
        const reply = await api.admin(verb.toUpperCase(), filled + query, verb === 'get' ? undefined : '{}')
        assert.ok(reply.status !== 405 && reply.json?.error_msg !== 'not found', `${verb} ${filled} ${reply.text}`)
        if (verb === 'get') assert.equal(reply.status, 200, `${filled} ${reply.text}`)
      }
    }
  })
})

describe('the OpenAPI document of a gateway that stands alone', () => {
  it('has the document in the place of items', async () => {
    const api = await startAdmin({ items: undefined })
    const { paths, components } = (await api.admin('GET', '/openapi.json')).json
    assert.deepEqual(Object.keys(paths['/configs']), ['get', 'put'])
    assert.ok('/configs/validate' in paths && '/schema/{name}' in paths)
    assert.ok(!('/routes' in paths))
    const ajv = new Ajv2020({ strict: false })
    addFormats.default(ajv)
    ajv.addSchema({ $id: 'document', components })
    const validate = ajv.compile({ $ref: 'document#/components/schemas/document' })
    const credential = { ...samples.credentials.value, id: 'rose/credentials/c1' }
    const good = {
      routes: [samples.routes.value],
      consumers: [{ username: 'rose' }, credential],
      plugins: [{ name: 'x' }],
    }
    assert.ok(validate(good), JSON.stringify(validate.errors))
    assert.ok(!validate({ routes: [{ uri: 5 }] }))
    await api.close()
  })
})

describe('a schema of 2020-12', () => {
  it('says what ours said', () => {
    const schema = {
      type: 'object',
      properties: { list: { type: 'array', items: [{ type: 'string' }], additionalItems: { type: 'number' } } },
      dependencies: { a: ['b'], c: { required: ['d'], dependencies: { e: ['f'] } } },
      anyOf: [{ not: { items: { dependencies: { x: ['y'] } } } }],
    } as unknown as Schema // which has no lists of items, though JavaScript may
    assert.deepEqual(schema2020(schema), {
      type: 'object',
      properties: { list: { type: 'array', prefixItems: [{ type: 'string' }], items: { type: 'number' } } },
      dependentRequired: { a: ['b'] },
      dependentSchemas: { c: { required: ['d'], dependentRequired: { e: ['f'] } } },
      anyOf: [{ not: { items: { dependentRequired: { x: ['y'] } } } }],
    })
  })
})
