// A document: which items it has, and what is wrong with the others.
import assert from 'node:assert/strict'
import { readDocument } from '../../../core/standalone/document.ts'
import { fakePlugins } from '../../helpers/admin.ts'
import { pem } from '../../helpers/samples.ts'

const read = (document: Record<string, unknown>, enabled = fakePlugins) =>
  readDocument(document, { known: fakePlugins, enabled })
const route = (more: object) => ({ uri: '/a', plugins: {}, ...more })

describe('a document', () => {
  it('has the items of its collections, with the ids that they say or that their place gives them', async () => {
    const { entries, mistakes } = await read({
      routes: [route({ id: 'r1', modifiedIndex: 7 }), route({}), route({ id: 3 })],
      upstreams: [{ id: 'u', nodes: {} }],
      consumers: [
        { username: 'jack' },
        { id: 'jack/credentials/c1', plugins: { 'key-auth': { key: 'k' } } },
        { id: 'rose', username: 'rose' },
      ],
      ssls: [{ id: 's', sni: 'a', cert: pem('self-signed'), key: pem('self-signed-key') }],
      secrets: [{ id: 'vault/1', uri: 'http://a', prefix: 'p', token: 't' }],
      plugin_metadata: [{ id: 'late', any: 1 }],
      global_rules: [{ plugins: {} }],
      stream_routes: [{ server_port: 9100 }],
      protos: null,
      services: [],
    })
    assert.deepEqual(mistakes, [])
    assert.deepEqual(
      entries.map(({ kind, id, value }) => [`${kind}/${id}`, value.id]),
      [
        ['routes/r1', 'r1'],
        ['routes/arr_2', 'arr_2'],
        ['routes/3', 3],
        ['upstreams/u', 'u'],
        ['consumers/jack', undefined],
        ['consumers/jack/credentials/c1', 'jack/credentials/c1'],
        ['consumers/rose', 'rose'],
        ['ssls/s', 's'],
        ['global_rules/arr_1', 'arr_1'],
        ['plugin_metadata/late', 'late'],
        ['secrets/vault/1', 'vault/1'],
        ['stream_routes/arr_1', 'arr_1'],
      ],
    )
    assert.deepEqual(entries[0]?.value, { uri: '/a', plugins: {}, id: 'r1' })
  })

  it('is without the entries that are wrong, and says of each what is', async () => {
    const { entries, mistakes } = await read({
      routes: [route({ id: 'r1', uri: 5 }), route({ id: 'good' }), 7, route({ id: 'good' }), route({ id: 'a/b' })],
      upstreams: [{ id: 'u', nodes: {}, type: 'p2c' }],
      consumers: [
        { username: 'jack' },
        { username: 'jack' },
        { id: 'jack/credentials/1' },
        { id: 'jack/credentials/1' },
        {},
      ],
      secrets: [{ id: '1' }, { id: 'nobody/1' }],
      plugin_metadata: [{ id: 'nobody' }],
      services: { a: 1 },
      global_rules_conf_version: '3',
      unheard: [],
    })
    assert.deepEqual(
      entries.map(({ kind, id }) => `${kind}/${id}`),
      ['routes/good', 'consumers/jack', 'consumers/jack/credentials/1'],
    )
    const string = 'invalid configuration: property "uri" validation failed: wrong type: expected string, got number'
    assert.deepEqual(
      mistakes.map(({ collection, index, id, reason }) => [collection, index, id, reason]),
      [
        ['routes', 0, 'r1', string],
        ['routes', 2, undefined, 'invalid configuration: it should be an object'],
        ['routes', 3, 'good', 'found duplicate id good in routes'],
        ['routes', 4, 'a/b', 'invalid id: a/b'],
        ['services', undefined, undefined, 'services must be an array'],
        ['upstreams', 0, 'u', 'type "p2c" is not served by this version of Sluice'],
        ['consumers', 1, 'jack', 'found duplicate username jack in consumers'],
        ['consumers', 3, 'jack/credentials/1', 'found duplicate credential id jack/credentials/1 in consumers'],
        ['consumers', 4, 'arr_5', 'invalid configuration: property "username" is required'],
        ['global_rules', undefined, undefined, 'global_rules_conf_version must be a number, got string'],
        ['plugin_metadata', 0, 'nobody', 'invalid plugin name'],
        ['secrets', 0, '1', 'invalid secret id: 1'],
        ['secrets', 1, 'nobody/1', 'invalid secret id: nobody/1'],
      ],
    )
  })

  it('may say which plugins are enabled', async () => {
    const uses = { routes: [route({ id: 1, plugins: { late: {} } })] }
    assert.deepEqual((await read(uses)).plugins, undefined)
    const only = await read({ ...uses, plugins: [{ name: 'key-auth' }, { name: 'late', stream: true }] })
    assert.deepEqual(only.plugins, ['key-auth'])
    assert.deepEqual(
      only.mistakes.map(({ reason }) => reason),
      ['unknown plugin [late]'],
    )
    const both = await read({ ...uses, plugins: [{ name: 'late' }] }, new Map())
    assert.deepEqual([both.plugins, both.mistakes], [['late'], []])
    const wrong = await read({ plugins: [{ name: 'nobody' }, {}, 'late'] })
    assert.deepEqual(
      wrong.mistakes.map(({ index, reason }) => [index, reason]),
      [
        [0, 'unknown plugin [nobody]'],
        [1, 'property "name" is required'],
        [2, 'property "name" is required'],
      ],
    )
  })

  it('names what stands beside its collections', async () => {
    const { strangers } = await read({ route: [], routes: [], routes_conf_version: 1, toString: 1 })
    assert.deepEqual(strangers, ['route', 'toString'])
  })
})
