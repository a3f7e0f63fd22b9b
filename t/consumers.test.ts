// Consumers through the front door: their groups, their credentials, and what becomes of both while requests come.
import assert from 'node:assert/strict'
import { type Resources, startGateway, type TestGateway } from './helpers/gateway.ts'
import { tracer } from './helpers/tracer.ts'
import { until } from './helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

describe('a consumer', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  const trace: string[] = []

  beforeEach(async () => {
    upstream = await startUpstream()
    trace.length = 0
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  async function start(resources: Resources, route: object = {}): Promise<void> {
    gateway = await startGateway({
      resources: {
        routes: {
          r: {
            uri: '/*',
            plugins: { 'key-auth': {}, ...route },
            upstream: { nodes: { [`127.0.0.1:${upstream.port}`]: 1 } },
          },
        },
        ...resources,
      },
      plugins: [tracer('high', 30, trace), tracer('mid', 20, trace), tracer('low', 10, trace)],
    })
    assert.deepEqual(gateway.rejected, [])
  }
  const tagged = (...tags: [name: string, tag: string][]) =>
    Object.fromEntries(tags.map(([name, tag]) => [name, { tag }]))
  const keyed = (key: string) => ({ plugins: { 'key-auth': { key } } })

  async function get(key: string, headers: Record<string, string> = {}): Promise<{ status: number; body: string }> {
    trace.length = 0
    const response = await fetch(gateway.url, { headers: { apikey: key, ...headers } })
    const body = await response.text()
    await until(() => gateway.gateway.inFlight === 0, 'the request has logged')
    return { status: response.status, body }
  }
  const ran = (phase: string) => trace.filter(line => line.endsWith(`.${phase}`)).map(line => line.split('.')[0])
  /** Which consumer the upstream is told of, by which credential; the status of a refusal. */
  async function asked(key: string): Promise<unknown> {
    const { length } = upstream.received
    const { status } = await get(key, { 'X-Consumer-Username': 'root', 'X-Credential-Identifier': 'root' })
    const seen = upstream.received[length]?.headers
    return seen === undefined ? status : [seen['x-consumer-username'], seen['x-credential-identifier']]
  }

  describe('in a group', () => {
    const jack = { username: 'jack', group_id: 'g', plugins: { 'key-auth': { key: 'k' }, ...tagged(['high', 'jack']) } }

    it("brings its group's plugins along, below its own and above the route's; newcomers run rewrite", async () => {
      await start(
        {
          consumers: { jack },
          consumer_groups: { g: { plugins: tagged(['high', 'group'], ['mid', 'group'], ['low', 'group']) } },
        },
        tagged(['low', 'route']),
      )
      assert.equal((await get('k')).status, 200)
      assert.deepEqual(ran('access'), ['high:jack', 'mid:group', 'low:group'])
      // Of what the route has too, rewrite has run before anybody knew who asks.
      assert.deepEqual(ran('rewrite'), ['low:route', 'high:jack', 'mid:group'])
    })

    it("turns its group's plugin off with _meta.disable, and is not authenticated again by one of its group", async () => {
      await start({
        consumers: { jack: { ...jack, plugins: { ...jack.plugins, mid: { _meta: { disable: true } } } } },
        consumer_groups: {
          g: { plugins: { ...tagged(['mid', 'group'], ['low', 'group']), 'key-auth': { header: 'X' } } },
        },
      })
      assert.equal((await get('k')).status, 200)
      assert.deepEqual(ran('access'), ['high:jack', 'low:group'])
    })

    it('is known by it to expressions, and without one by none', async () => {
      const filter = [['consumer_group_id', '==', '7']]
      await start(
        {
          consumers: { jack: { ...jack, group_id: 7 }, jill: { username: 'jill', ...keyed('j') } },
          consumer_groups: { 7: { plugins: {} } },
        },
        { low: { _meta: { filter } } },
      )
      await get('k')
      assert.deepEqual(ran('access'), ['high:jack', 'low'])
      await get('j')
      assert.deepEqual(ran('access'), [])
    })

    it('is answered 503 while the group is missing, and the response hooks of the route run', async () => {
      await start({ consumers: { jack } }, tagged(['low', 'route']))
      const { status, body } = await get('k')
      assert.equal(status, 503)
      assert.equal(JSON.parse(body).code, 'consumer_group_missing')
      assert.deepEqual([ran('access'), ran('log'), upstream.received.length], [[], ['low:route'], 0])
    })

    it('meets the group as it is now: changed, gone, back again, left', async () => {
      const group = (tag: string) => ({ consumer_groups: { g: { plugins: tagged(['mid', tag]) } } })
      await start({ consumers: { jack }, ...group('one') })
      const meets = async () => [(await get('k')).status, ...ran('access')]
      assert.deepEqual(await meets(), [200, 'high:jack', 'mid:one'])
      await gateway.put(group('two'))
      await until(() => trace.includes('mid:one.close'), 'what the group had before is closed')
      assert.deepEqual(await meets(), [200, 'high:jack', 'mid:two'])
      await gateway.put({ consumer_groups: { g: null } })
      assert.deepEqual(await meets(), [503])
      await gateway.put(group('three'))
      assert.deepEqual(await meets(), [200, 'high:jack', 'mid:three'])
      const { group_id: _, ...alone } = jack
      await gateway.put({ consumers: { jack: alone } })
      assert.deepEqual(await meets(), [200, 'high:jack'])
    })

    it('that is the anonymous one is in its group all the same', async () => {
      await start(
        {
          consumers: { guest: { username: 'guest', group_id: 'g' } },
          consumer_groups: { g: { plugins: tagged(['mid', 'group']) } },
        },
        { 'key-auth': { anonymous_consumer: 'guest' } },
      )
      assert.equal((await get('unknown')).status, 200)
      assert.deepEqual(ran('access'), ['mid:group'])
    })
  })

  describe('with credentials', () => {
    const jack = { username: 'jack', labels: { custom_id: 'c-7' }, plugins: tagged(['mid', 'jack']) }

    it('is recognised by each of them and by its own key, and the upstream learns by which', async () => {
      await start({
        consumers: {
          jack: { ...jack, plugins: { ...jack.plugins, 'key-auth': { key: 'own' } } },
          'jack/credentials/phone': keyed('one'),
          'jack/credentials/laptop': keyed('two'),
        },
      })
      assert.deepEqual(await asked('own'), ['jack', undefined])
      assert.deepEqual(await asked('one'), ['jack', 'phone'])
      assert.deepEqual(await asked('two'), ['jack', 'laptop'])
      assert.equal(upstream.received.at(-1)?.headers['x-consumer-custom-id'], 'c-7')
      assert.deepEqual(ran('access'), ['mid:jack'])
      assert.equal(await asked('three'), 401)
    })

    it('is recognised by what they are now: made, changed, gone, back again', async () => {
      await start({ consumers: { jack } })
      const credential = (value: Record<string, unknown> | null) =>
        gateway.put({ consumers: { 'jack/credentials/c': value } })
      assert.equal(await asked('one'), 401)
      await credential(keyed('one'))
      assert.deepEqual(await asked('one'), ['jack', 'c'])
      await credential(keyed('two'))
      assert.deepEqual([await asked('one'), await asked('two')], [401, ['jack', 'c']])
      await credential(null)
      assert.equal(await asked('two'), 401)
      await credential(keyed('two'))
      assert.deepEqual(await asked('two'), ['jack', 'c'])
    })

    it('takes them along when it goes, and has them again with what it is when it comes back', async () => {
      await start({ consumers: { jack, 'jack/credentials/c': keyed('one') } })
      assert.deepEqual(await asked('one'), ['jack', 'c'])
      await gateway.put({ consumers: { jack: null } })
      assert.equal(await asked('one'), 401)
      await gateway.put({ consumers: { jack: { ...jack, labels: { custom_id: 'new' } } } })
      assert.deepEqual(await asked('one'), ['jack', 'c'])
      assert.equal(upstream.received.at(-1)?.headers['x-consumer-custom-id'], 'new')
    })

    it('has none that is disabled, bad or of somebody else; a bad one fails alone', async () => {
      await start({ consumers: { jack, rose: { username: 'rose' }, 'rose/credentials/c': keyed('of rose') } })
      await gateway.put({
        consumers: {
          'jack/credentials/off': { plugins: { 'key-auth': { key: 'off', _meta: { disable: true } } } },
          'jack/credentials/bad': { plugins: { 'key-auth': { key: 7 } } },
          'jack/credentials/good': keyed('good'),
        },
      })
      assert.deepEqual(
        gateway.rejected.map(({ kind, id }) => [kind, id]),
        [['consumers', 'jack/credentials/bad']],
      )
      assert.deepEqual([await asked('off'), await asked('7'), await asked('good')], [401, 401, ['jack', 'good']])
      assert.deepEqual(await asked('of rose'), ['rose', 'c'])
    })

    it('cannot be named by one of them', async () => {
      await start(
        { consumers: { jack, 'jack/credentials/c': keyed('one') } },
        { 'key-auth': { anonymous_consumer: 'jack/credentials/c' } },
      )
      assert.equal(await asked('unknown'), 401)
    })
  })
})
