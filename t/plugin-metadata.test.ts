// Plugin metadata through the front door: what every instance of a plugin is made with, and who is made anew when it changes.
import assert from 'node:assert/strict'
import { plugin } from '../core/plugin.ts'
import { reply } from '../core/reply.ts'
import { resourceProblem } from '../core/resource.ts'
import { startGateway, type TestGateway } from './helpers/gateway.ts'
import { openJournal } from './helpers/journal.ts'
import { until } from './helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

describe('the metadata of a plugin', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  /** What was set up and closed. */
  let steps: string[]

  const told = (name: string, metadata: object) =>
    plugin({
      name,
      priority: 1,
      version: 1,
      schema: { type: 'object', properties: { as: { type: 'string' } }, required: ['as'] },
      metadata: {
        type: 'object',
        properties: { word: { type: 'string' }, mark: { type: 'string', default: '!' } },
        ...metadata,
      },
      setup({ as }, { metadata, owner }) {
        const said = `${name} ${owner.kind} ${as} ${JSON.stringify(metadata)}`
        steps.push(`+${said}`)
        return {
          access: ({ request }) => (request.path === `/${name}` ? reply(200, said) : undefined),
          header_filter: (_ctx, { headers }) => headers.append('X-Met', `${name} ${as}`),
          close: () => void steps.push(`-${said}`),
        }
      },
    })

  beforeEach(async () => {
    steps = []
    upstream = await startUpstream()
    gateway = await startGateway({ plugins: [told('one', {}), told('two', { additionalProperties: false })] })
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  const get = async (path: string, headers: Record<string, string> = {}) =>
    await (await fetch(gateway.url + path, { headers })).text()
  const word = (name: string, value: string) => gateway.put({ plugin_metadata: { [name]: { word: value } } })
  const both = (as: string) => ({ one: { as }, two: { as } })

  it('is there with its defaults, and without its id; where there is none there is none', async () => {
    await gateway.put({ routes: { 1: { uri: '/*', plugins: both('r') } }, plugin_metadata: { one: { word: 'hi' } } })
    assert.equal(await get('/one'), 'one route r {"word":"hi","mark":"!"}')
    assert.equal(await get('/two'), 'two route r undefined')
  })

  it('is refused when the plugin finds wrong what its schema cannot say', async () => {
    const strict = {
      ...told('strict', {}),
      checkMetadata: (metadata: unknown) =>
        (metadata as { mark: string }).mark === '!' ? undefined : 'mark: is not the usual one',
    }
    const problem = (metadata: object) =>
      resourceProblem('plugin_metadata', { id: 'strict', ...metadata }, new Map([['strict', strict]]))
    assert.equal(problem({ word: 'hi' }), undefined)
    assert.equal(problem({ mark: '?' }), 'invalid configuration: mark: is not the usual one')
    assert.equal(
      problem({ mark: 1 }),
      'invalid configuration: property "mark" validation failed: wrong type: expected string, got number',
    )
  })

  it('that changes, comes or goes makes exactly the instances of its plugin anew, wherever they are', async () => {
    await gateway.put({
      plugin_metadata: { two: { word: 'b' } },
      global_rules: { g: { plugins: { one: { as: 'g' } } } },
      services: { s: { plugins: { one: { as: 's' } } } },
      plugin_configs: { p: { plugins: { two: { as: 'p' } } } },
      consumer_groups: { cg: { plugins: { one: { as: 'cg' } } } },
      consumers: {
        jack: { username: 'jack', group_id: 'cg', plugins: { 'key-auth': { key: 'k' }, two: { as: 'c' } } },
      },
      routes: { 1: { uri: '/*', service_id: 's', plugin_config_id: 'p', plugins: { 'key-auth': {} } } },
    })
    await get('/two', { apikey: 'k' })
    const made = [
      '+one consumer_group cg undefined',
      '+one global_rule g undefined',
      '+one service s undefined',
      '+two consumer c {"word":"b","mark":"!"}',
      '+two plugin_config p {"word":"b","mark":"!"}',
    ]
    assert.deepEqual(steps.sort(), made)
    steps = []
    await word('one', 'a')
    await get('/two', { apikey: 'k' })
    const others = ['consumer_group cg', 'global_rule g', 'service s']
    const plus = others.map(each => `+one ${each} {"word":"a","mark":"!"}`)
    await until(() => steps.length === 6, 'those of before are closed')
    assert.deepEqual(steps.sort(), [...plus, ...others.map(each => `-one ${each} undefined`)])
    steps = []
    await gateway.put({ plugin_metadata: { one: null } })
    await get('/two', { apikey: 'k' })
    await until(() => steps.length === 6, 'those of before are closed')
    assert.deepEqual(
      steps.filter(step => step.startsWith('+')).sort(),
      others.map(each => `+one ${each} undefined`),
    )
  })

  it('that changes makes what other plugins are made of anew too, however deep', async () => {
    const wrapper = (name: string, inner: string) =>
      plugin({
        name,
        priority: 1,
        version: 1,
        schema: { type: 'object' },
        setup: (_config, { use }) => use(inner, inner === 'one' ? { as: 'inner' } : {}),
      })
    await gateway.close()
    gateway = await startGateway({ plugins: [told('one', {}), wrapper('outer', 'middle'), wrapper('middle', 'one')] })
    const plain = { uri: '/plain', plugins: { 'key-auth': {} } }
    await gateway.put({
      routes: { 1: { uri: '/*', plugins: { outer: {} } }, 2: plain, 3: { uri: '/late', plugins: { outer: {} } } },
    })
    assert.equal(await get('/one'), 'one route inner undefined')
    await word('one', 'a')
    assert.equal(await get('/one'), 'one route inner {"word":"a","mark":"!"}')
    await until(() => steps.some(step => step.startsWith('-')), 'the one of before is closed')
    await gateway.put({ routes: { 2: { ...plain, desc: 'edited' } } })
    steps = []
    await get('/one')
    await get('/late')
    assert.deepEqual(steps, ['+one route inner {"word":"a","mark":"!"}'])
  })

  it('that is written again as it was changes nothing, nor for who is asked for the first time then', async () => {
    await word('one', 'a')
    await gateway.put({
      routes: { 1: { uri: '/*', plugins: { one: { as: 'r' } } }, 2: { uri: '/late', plugins: { one: { as: 'l' } } } },
    })
    await get('/one')
    for (let times = 0; times < 3; times++) await word('one', 'a')
    await get('/one')
    await get('/late')
    assert.deepEqual(steps, ['+one route r {"word":"a","mark":"!"}', '+one route l {"word":"a","mark":"!"}'])
  })

  it('is the one that a request began with, to its end', async () => {
    await gateway.put({
      routes: {
        1: { uri: '/*', plugins: { one: { as: 'r' } }, upstream: { nodes: { [`127.0.0.1:${upstream.port}`]: 1 } } },
      },
    })
    let release = () => {}
    upstream.script = received => {
      release = () => received.json(200, {})
    }
    const slow = get('/')
    await upstream.request(0)
    await word('one', 'a')
    assert.equal(await get('/one'), 'one route r {"word":"a","mark":"!"}')
    assert.deepEqual(steps, ['+one route r undefined', '+one route r {"word":"a","mark":"!"}'])
    release()
    await slow
    await until(() => steps.includes('-one route r undefined'), 'the instance of before is closed')
  })

  it('that is bad fails alone, and the last good one goes on', async () => {
    await gateway.put({ routes: { 1: { uri: '/*', plugins: both('r') } } })
    await word('one', 'a')
    await gateway.put({ plugin_metadata: { one: { word: 1 }, two: { colour: 'red' }, nobody: {} } })
    assert.deepEqual(
      gateway.rejected.map(({ id, reason }) => [id, reason]),
      [
        ['one', 'invalid configuration: property "word" validation failed: wrong type: expected string, got number'],
        ['two', 'invalid configuration: additional properties forbidden, found colour'],
        ['nobody', 'invalid plugin name'],
      ],
    )
    assert.equal(await get('/one'), 'one route r {"word":"a","mark":"!"}')
    assert.equal(await get('/two'), 'two route r undefined')
  })

  it('reaches a route that is put together with it, before it and after it', async () => {
    const route = (id: string, desc: string) => ({ [id]: { uri: `/${id}`, desc, plugins: { one: { as: id } } } })
    const made = async (id: string) => {
      await get(`/${id}`)
      return steps.findLast(step => step.startsWith(`+one route ${id} `))
    }
    for (const value of ['x', 'y']) {
      await Promise.all([
        gateway.put({ routes: route('a', value) }),
        word('one', value),
        gateway.put({ routes: route('b', value) }),
      ])
      for (const id of ['a', 'b']) assert.match((await made(id)) ?? '', new RegExp(`"word":"${value}"`))
    }
  })

  it('is told of in the log where a plugin can do nothing without it', async () => {
    await gateway.close()
    const journal = openJournal()
    gateway = await startGateway({ log: journal.log })
    await gateway.put({ routes: { 1: { uri: '/*', plugins: { 'file-logger': {} }, upstream: { nodes: {} } } } })
    await get('/')
    assert.match(journal.lines.map(({ message }) => message).join('\n'), /nothing is logged: there is no path/)
  })
})
