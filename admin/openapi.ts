// The admin API described in OpenAPI 3.1, from the tables and schemas that it works by; knows no item.
import type { Plugin, Schema } from '../core/plugin.ts'
import { pluginSchema } from '../core/resource/plugin-configs.ts'
import { isServed, type ResourceKind, resourceSchema } from '../core/resource.ts'
import { isObject } from '../core/schema.ts'
import { type AdminKind, kinds, type Verb } from './kinds.ts'
import { schema2020 } from './schema-2020.ts'

type Json = Record<string, unknown>
type Plugins = ReadonlyMap<string, Plugin>

export interface OpenApiOptions {
  /** Where the paths are. */
  base: string
  /** Sluice's. */
  version: string
  /** Whether all resources are one document, and items have no paths. */
  standalone: boolean
}

export function openApi(plugins: Plugins, { base, version, standalone }: OpenApiOptions): Json {
  const resources = standalone ? [documentPaths()] : kinds.filter(({ kind }) => kind !== 'stream_routes').map(pathsOf)
  return {
    openapi: '3.1.0',
    info: {
      title: 'Sluice admin API',
      version,
      description: 'The admin API of Apache APISIX 3.18, with entity tags and warnings beside it.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: base }],
    security: [{ header: [] }, { query: [] }, { cookie: [] }],
    paths: Object.assign({}, ...resources, otherPaths()),
    components: {
      securitySchemes: {
        header: { type: 'apiKey', in: 'header', name: 'X-API-KEY' },
        query: { type: 'apiKey', in: 'query', name: 'api_key' },
        cookie: { type: 'apiKey', in: 'cookie', name: 'x_api_key' },
      },
      schemas: {
        ...Object.fromEntries(kinds.map(({ kind }) => [kind, bodySchema(kind)])),
        plugins: pluginMap(plugins, 'plugin'),
        consumer_plugins: pluginMap(plugins, 'consumer'),
        ...Object.assign({}, ...[...plugins.values()].map(pluginSchemas)),
        document: documentSchema(),
        Error: error,
      },
      parameters,
      responses,
    },
  }
}

function pathsOf(kind: AdminKind): Json {
  const above = kind.nested ? `/${kind.directory}/{parent}` : ''
  const collection = `${above}/${kind.kind}`
  const id = kind.segments === 2 ? '{manager}/{id}' : '{id}'
  const has = (verb: Verb) => kind.verbs.has(verb)
  const owner = kind.nested ? [pathParameter('parent')] : []
  const own = (kind.segments === 2 ? ['manager', 'id'] : ['id']).map(pathParameter)
  const paths: Json = {
    [collection]: {
      ...(kind.nested && { parameters: owner }),
      get: operation(kind, 'list', {
        parameters: ['page', 'page_size', 'name', 'label', 'uri', 'filter', 'none_match'],
      }),
      ...(has('POST') && { post: operation(kind, 'create', { body: kind.kind, parameters: ['ttl', 'match'] }) }),
      put: operation(kind, 'put', { body: kind.kind, parameters: writing }),
    },
    [`${collection}/${id}`]: {
      parameters: [...owner, ...own],
      get: operation(kind, 'get', { parameters: ['none_match'] }),
      put: operation(kind, 'put_by_id', { body: kind.kind, parameters: writing }),
      ...(has('PATCH') && { patch: operation(kind, 'patch', { body: {}, parameters: ['ttl', 'match'] }) }),
      delete: operation(kind, 'delete', { parameters: ['force', 'match'] }),
    },
  }
  if (has('PATCH') && kind.subPaths) {
    paths[`${collection}/${id}/{path}`] = {
      parameters: [
        ...owner,
        ...own,
        { ...pathParameter('path'), description: 'Names of attributes, one below the other.' },
      ],
      patch: operation(kind, 'patch_part', { body: true, parameters: ['ttl', 'match'] }),
    }
  }
  return paths
}

const writing = ['ttl', 'match', 'if_none_match_any']

/** `body` is a kind, or a schema of its own. */
function operation(
  { kind, name }: AdminKind,
  verb: string,
  { body, parameters: names }: { body?: ResourceKind | object | true; parameters: readonly string[] },
): Json {
  const makes = verb === 'create' || verb.startsWith('put')
  const good = verb === 'list' ? 'List' : verb === 'delete' ? 'Deleted' : verb === 'get' ? 'Item' : 'Written'
  const answers = ['400', '401', ...(verb === 'create' ? [] : ['404']), '412', '503']
  const schema = typeof body === 'string' ? { $ref: `#/components/schemas/${body}` } : body
  return {
    operationId: `${verb}_${kind}`,
    tags: [kind],
    summary: `${verb.replaceAll('_', ' ')} (${name})`,
    ...(!isServed(kind) && { description: 'Kept; this version of the data plane does not act on it.' }),
    parameters: names.map(each => ({ $ref: `#/components/parameters/${each}` })),
    ...(schema !== undefined && { requestBody: { required: true, content: { 'application/json': { schema } } } }),
    responses: {
      ...(verb !== 'create' && { 200: { $ref: `#/components/responses/${good}` } }),
      ...(makes && { 201: { $ref: `#/components/responses/${good}` } }),
      ...(good === 'Item' || good === 'List' ? { 304: { description: 'as the client knows it' } } : {}),
      ...Object.fromEntries(answers.map(status => [status, { $ref: '#/components/responses/Error' }])),
    },
  }
}

function pathParameter(name: string): Json {
  return { name, in: 'path', required: true, schema: { type: 'string' } }
}

function queryParameter(name: string, schema: Json, description: string): Json {
  return { name, in: 'query', schema, description }
}

const text = { type: 'string' } as const

const parameters = {
  page: queryParameter('page', { type: 'integer', minimum: 1 }, 'Counts from 1; takes effect with page_size.'),
  page_size: queryParameter('page_size', { type: 'integer', minimum: 10, maximum: 500 }, 'Takes effect with page.'),
  name: queryParameter('name', text, 'A pattern that is looked for in names.'),
  label: queryParameter('label', text, 'The key of a label.'),
  uri: queryParameter('uri', text, 'A pattern that is looked for in uri and uris.'),
  filter: queryParameter('filter', text, 'service_id and upstream_id, as a query in the query.'),
  ttl: queryParameter('ttl', { type: 'number', minimum: 1 }, 'Seconds after which the item is gone.'),
  force: queryParameter('force', { const: 'true' }, 'Delete even what others refer to.'),
  match: { name: 'If-Match', in: 'header', schema: text, description: 'Write only on the version with this ETag.' },
  none_match: { name: 'If-None-Match', in: 'header', schema: text, description: 'Answer 304 if this is the ETag.' },
  if_none_match_any: {
    name: 'If-None-Match',
    in: 'header',
    schema: { const: '*' },
    description: 'Only make, never change.',
  },
}

const error: Schema = {
  type: 'object',
  properties: { error_msg: text, message: text, description: text, revision: { type: 'integer' } },
}

const revision = { type: 'integer', minimum: 1 }
const item = {
  type: 'object',
  properties: { key: text, value: { type: 'object' }, createdIndex: revision, modifiedIndex: revision },
  required: ['key', 'value'],
}

function response(description: string, schema: Json, headers: readonly string[] = []): Json {
  return {
    description,
    headers: Object.fromEntries(headers.map(name => [name, { schema: text }])),
    content: { 'application/json': { schema } },
  }
}

const responses = {
  Item: response('one item', item, ['ETag']),
  Written: response('what is stored now, secrets encrypted', item, ['ETag', 'X-Sluice-Revision', 'X-Sluice-Warning']),
  List: response(
    'a list in the order of keys; a page in the order of creation',
    {
      type: 'object',
      properties: { total: { type: 'integer' }, list: { type: 'array', items: item } },
      required: ['total', 'list'],
    },
    ['ETag'],
  ),
  Deleted: response(
    'it is gone',
    { type: 'object', properties: { deleted: text, key: text }, required: ['deleted', 'key'] },
    ['X-Sluice-Revision'],
  ),
  Error: response('what is wrong', { $ref: '#/components/schemas/Error' }),
}

/** A kind's schema; its plugins are those that there are. */
function bodySchema(kind: ResourceKind): Schema {
  const schema = schema2020(resourceSchema(kind))
  if (!isObject(schema.properties) || schema.properties.plugins === undefined) return schema
  const map = kind === 'consumers' || kind === 'credentials' ? 'consumer_plugins' : 'plugins'
  const { maxProperties } = schema.properties.plugins as { maxProperties?: number }
  const plugins = { $ref: `#/components/schemas/${map}`, ...(maxProperties !== undefined && { maxProperties }) }
  return { ...schema, properties: { ...schema.properties, plugins } }
}

function pluginMap(plugins: Plugins, use: 'plugin' | 'consumer'): Schema {
  const named = [...plugins.values()].map(({ name, consumer }) => {
    const which = use === 'consumer' && consumer !== undefined ? 'consumer' : 'plugin'
    return [name, { $ref: `#/components/schemas/${which}.${name}` }]
  })
  return { type: 'object', properties: Object.fromEntries(named), additionalProperties: false }
}

function pluginSchemas(plugin: Plugin): Json {
  return {
    [`plugin.${plugin.name}`]: schema2020(pluginSchema(plugin, 'config')),
    ...(plugin.consumer && { [`consumer.${plugin.name}`]: schema2020(pluginSchema(plugin, 'consumer')) }),
    ...(plugin.metadata && { [`metadata.${plugin.name}`]: schema2020(plugin.metadata) }),
  }
}

/** Collections, each with the kinds of items that are in it. */
function documentSchema(): Json {
  const lists = Map.groupBy(kinds, ({ directory }) => directory)
  const properties = [...lists].flatMap(([name, within]) => {
    const items = { anyOf: within.map(({ kind }) => ({ $ref: `#/components/schemas/${kind}` })) }
    return [
      [name, { type: 'array', items }],
      [`${name}_conf_version`, { type: 'number' }],
    ]
  })
  const plugins = { type: 'array', items: { type: 'object', properties: { name: text, stream: { type: 'boolean' } } } }
  return {
    type: 'object',
    properties: { ...Object.fromEntries(properties), plugins, plugins_conf_version: { type: 'number' } },
  }
}

function documentPaths(): Json {
  const document = { $ref: '#/components/schemas/document' }
  const digest = { name: 'X-Digest', in: 'header', required: true, schema: text, description: 'Tells documents apart.' }
  const match = { $ref: '#/components/parameters/match' }
  return {
    '/configs': {
      get: {
        operationId: 'get_configs',
        tags: ['configs'],
        responses: { 200: response('the document as it was put', document, ['ETag', 'X-Digest', 'X-Last-Modified']) },
      },
      put: {
        operationId: 'put_configs',
        tags: ['configs'],
        parameters: [digest, match],
        requestBody: {
          required: true,
          content: { 'application/json': { schema: document }, 'application/yaml': { schema: document } },
        },
        responses: {
          202: { description: 'it is served' },
          204: { description: 'the document with this digest is served already' },
          400: { $ref: '#/components/responses/Error' },
          412: { $ref: '#/components/responses/Error' },
        },
      },
    },
  }
}

/** Of accounts that are in the ledger, and not in the store. */
function budgetPaths(): Json {
  const unavailable = { $ref: '#/components/responses/Error' }
  const get = (operationId: string, description: string, names: readonly string[]) => ({
    get: {
      operationId,
      tags: ['budgets'],
      parameters: names.map(pathParameter),
      responses: { 200: response(description, {}), 404: unavailable, 503: unavailable },
    },
  })
  const amount = { type: 'object', properties: { amount: { type: ['number', 'string'] } } }
  return {
    '/budgets': get('budgets', 'every budget that has been used', []),
    '/budgets/{name}': get('budget', 'how the accounts of its principals stand, by page and page_size', ['name']),
    '/budgets/{name}/{principal}': get('budget_account', 'how an account stands, and what has become of it', [
      'name',
      'principal',
    ]),
    '/budgets/{name}/{principal}/{act}': {
      parameters: [
        ...['name', 'principal'].map(pathParameter),
        { ...pathParameter('act'), schema: { enum: ['top_up', 'freeze', 'unfreeze', 'reset'] } },
      ],
      post: {
        operationId: 'change_budget_account',
        tags: ['budgets'],
        requestBody: { content: { 'application/json': { schema: amount } } },
        responses: {
          200: response('how it stands now', {}),
          400: unavailable,
          404: unavailable,
          503: unavailable,
        },
      },
    },
  }
}

/** What is no item. */
function otherPaths(): Json {
  const answer = (description: string, schema: Json = {}) => ({ 200: response(description, schema) })
  const get = (operationId: string, description: string, names: readonly string[] = []) => ({
    get: { operationId, tags: ['schema'], parameters: names.map(pathParameter), responses: answer(description) },
  })
  const post = (operationId: string, description: string, names: readonly string[] = []) => ({
    post: {
      operationId,
      tags: ['schema'],
      parameters: names.map(pathParameter),
      requestBody: { required: true, content: { 'application/json': { schema: {} } } },
      responses: { ...answer(description), 400: { $ref: '#/components/responses/Error' } },
    },
  })
  return {
    '/schema/{name}': get('schema', 'the JSON Schema of a resource', ['name']),
    '/schema/plugins/{name}': get('plugin_schema', 'the JSON Schema of a plugin', ['name']),
    '/schema/validate/{collection}': post('validate', 'it fits its schema', ['collection']),
    '/plugins': get('plugins', 'every plugin with its schemas; needs all=true'),
    '/plugins/list': get('plugin_names', 'the names of the enabled plugins, by priority'),
    '/plugins/{name}': get('plugin', 'the JSON Schema of a plugin', ['name']),
    '/plugins/reload': { put: { operationId: 'reload_plugins', tags: ['plugins'], responses: answer('done') } },
    '/configs/validate': post('validate_configs', 'every collection of the document is good'),
    '/openapi.json': get('openapi', 'this document'),
    ...budgetPaths(),
  }
}
