// Resources that name plugins this gateway has not: what becomes of their requests.
import assert from 'node:assert/strict'
import { PluginsOrNone, unknownIn } from '../../core/unknown-plugins.ts'
import { builtins } from '../../plugins/index.ts'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { startUpstream } from '../helpers/upstream.ts'

describe('a plugin that this gateway has not', () => {
  const known = builtins.map(builtin => [builtin.name, builtin] as const)
  let upstream: Awaited<ReturnType<typeof startUpstream>>
  let gateway: TestGateway

  beforeEach(async () => {
    upstream = await startUpstream()
    upstream.script = received => received.json(200, {})
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  const to = (uri: string, plugins: object) => ({
    uri,
    plugins,
    upstream: { type: 'roundrobin', nodes: { [`127.0.0.1:${upstream.port}`]: 1 } },
  })
  async function statusesOf(onUnknown: 'refuse' | 'ignore', globalRule?: object): Promise<Record<string, number>> {
    gateway = await startGateway({
      allPlugins: new PluginsOrNone(known, onUnknown),
      resources: {
        routes: {
          guarded: to('/guarded', { 'open-sesame': { any: ['config'] } }),
          off: to('/off', { 'open-sesame': { _meta: { disable: true } } }),
          // A redirect, a mock or a 401 would answer before a plugin of low priority.
          behind: to('/behind', { 'open-sesame': {}, 'key-auth': {} }),
          plain: to('/plain', {}),
          keyed: to('/keyed', { 'key-auth': {} }),
        },
        consumers: {
          jack: { username: 'jack', plugins: { 'key-auth': { key: 'j' }, 'jwt-auth': { key: 'x' } } },
          jill: { username: 'jill', plugins: { 'key-auth': { key: 'l' }, 'quota-of-ours': {} } },
        },
        ...(globalRule && { global_rules: { 1: { plugins: globalRule } } }),
      },
    })
    const statusOf = async (path: string, key = '') =>
      (await fetch(gateway.url + path, { headers: { apikey: key } })).status
    return {
      guarded: await statusOf('/guarded'),
      off: await statusOf('/off'),
      behind: await statusOf('/behind'),
      plain: await statusOf('/plain'),
      jack: await statusOf('/keyed', 'j'),
      jill: await statusOf('/keyed', 'l'),
    }
  }

  it('has the requests answered 503 that it may have guarded, and no others', async () => {
    const statuses = await statusesOf('refuse')
    assert.deepEqual(statuses, { guarded: 503, off: 200, behind: 503, plain: 200, jack: 200, jill: 503 })
    const refused = await fetch(`${gateway.url}/guarded`)
    assert.equal(((await refused.json()) as { code: string }).code, 'plugin_unavailable')
  })

  it('is passed over where that is asked for', async () => {
    const statuses = await statusesOf('ignore')
    assert.deepEqual(statuses, { guarded: 200, off: 200, behind: 401, plain: 200, jack: 200, jill: 200 })
  })

  it('in a global rule guards everything', async () => {
    assert.equal((await statusesOf('refuse', { 'open-sesame': {} })).plain, 503)
  })

  it('is named, with what becomes of the requests', async () => {
    gateway = await startGateway()
    const value = { plugins: { 'key-auth': {}, a: {}, b: {} } }
    assert.deepEqual(unknownIn(value, new Map(known), 'refuse'), [
      'this gateway has no plugin a: its requests are answered 503',
      'this gateway has no plugin b: its requests are answered 503',
    ])
    assert.deepEqual(unknownIn({ uri: '/' }, new Map(known), 'ignore'), [])
  })
})
