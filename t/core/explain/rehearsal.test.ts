// What would become of a request that nobody has sent, asked of a gateway in this process, and of what it says when it is sent.
import assert from 'node:assert/strict'
import { type AskedRequest, type Rehearsal, rehearse } from '../../../core/explain/rehearsal.ts'
import { plugin } from '../../../core/plugin.ts'
import { type GatewayOptionsForTest, type Resources, startGateway, type TestGateway } from '../../helpers/gateway.ts'
import { until } from '../../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'

describe('a rehearsal', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  let called: string[]

  const noting = (name: string, priority: number) =>
    plugin({
      name,
      priority,
      version: 1,
      schema: { type: 'object' },
      setup: () => ({
        rewrite: () => void called.push(name),
        access: () => void called.push(name),
        header_filter: () => void called.push(name),
        log: () => void called.push(name),
      }),
    })
  const plugins = [noting('first', 30), noting('second', 20), noting('third', 10)]

  async function start(resources: Resources, more: GatewayOptionsForTest = {}): Promise<void> {
    gateway = await startGateway({ plugins, resources, ...more })
    assert.deepEqual(gateway.rejected, [])
  }

  async function ask(uri: string, more: Partial<AskedRequest> = {}): Promise<Rehearsal> {
    const asked = { method: 'GET', uri, headers: ['Host', 'a.test'], remote_addr: '10.0.0.1', ...more }
    const said = await rehearse({ body: undefined, consumer: undefined, ...asked }, gateway.gateway.options)
    assert.ok(!('problem' in said), JSON.stringify(said))
    return said
  }
  const reasons = ({ candidates }: Rehearsal) =>
    candidates.map(({ route, matches, failed }) => `${route} ${matches ? 'matches' : failed}`)
  const route = (more: object) => ({ uri: '/a/b', upstream: { nodes: upstream.nodes }, ...more })

  beforeEach(async () => {
    called = []
    upstream = await startUpstream()
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  it('names the route that serves, and why each better one does not, and each other is behind it', async () => {
    await start({
      routes: {
        post: route({ host: 'a.test', methods: ['POST', 'PUT'], priority: 9 }),
        far: route({ host: 'a.test', remote_addrs: ['192.0.2.0/24'], priority: 8 }),
        vars: route({ host: 'a.test', vars: [['http_x_tenant', '==', 'blue']], priority: 7 }),
        it: route({ host: 'a.test', priority: 6 }),
        low: route({ host: 'a.test', priority: 5 }),
        wide: route({ host: 'a.test', uri: '/a/*', priority: 100 }),
        wild: route({ host: '*.test', priority: 100 }),
        any: route({ priority: 100 }),
        other: route({ host: 'b.test', priority: 100 }),
        off: route({ host: 'a.test', status: 0, priority: 100 }),
        elsewhere: route({ uri: '/c' }),
      },
    })
    const said = await ask('/a/b?x=1')
    assert.deepEqual(said.route, { id: 'it', uri: '/a/b', host: 'a.test', priority: 6, name: undefined })
    assert.deepEqual(reasons(said), [
      'post methods',
      'far remote_addrs',
      'vars vars',
      'it matches',
      'low priority',
      'wide less_specific_path',
      'wild less_specific_host',
      'any less_specific_host',
      'other host',
      'off status',
    ])
    const whys = Object.fromEntries(said.candidates.map(({ route: id, why }) => [id, why]))
    assert.equal(whys.post, 'the method is not POST, PUT')
    assert.equal(whys.low, 'it comes before it: its priority is higher')
    assert.equal(whys.other, 'the host is not b.test')
    assert.equal((await ask('/a/b', { method: 'PUT' })).route?.id, 'post')
    assert.equal((await ask('/a/b', { remote_addr: '192.0.2.9' })).route?.id, 'far')
    assert.equal((await ask('/a/b', { headers: ['Host', 'a.test', 'X-Tenant', 'blue'] })).route?.id, 'vars')
    assert.equal((await ask('/a/b', { headers: ['Host', 'x.y.test'] })).route?.id, 'wild')
  })

  it('looks into the body and asks functions, as for requests', async () => {
    await start(
      {
        routes: {
          model: route({ vars: [['post_arg.model', '==', 'm']], priority: 2 }),
          asked: route({ filter_func: "function (vars) { return vars.arg_f === 'yes' }", priority: 1 }),
          rest: route({}),
        },
      },
      { javascript: { timeout: 10_000, heapMb: 64 } },
    )
    const json = ['Host', 'a.test', 'Content-Type', 'application/json']
    const withBody = await ask('/a/b', { method: 'POST', headers: json, body: '{"model":"m"}' })
    assert.deepEqual(reasons(withBody).slice(0, 1), ['model matches'])
    const without = await ask('/a/b', { method: 'POST', headers: json, body: '{"model":"n"}' })
    assert.deepEqual(reasons(without), ['model vars', 'asked filter_func', 'rest matches'])
    assert.deepEqual(reasons(await ask('/a/b?f=yes')), ['model vars', 'asked matches', 'rest priority'])
  })

  it('says from where each plugin comes, what it takes the place of, and in which order they run', async () => {
    await start({
      global_rules: { g: { plugins: { third: {} } } },
      services: { s: { plugins: { first: {}, second: {} }, upstream: { nodes: upstream.nodes } } },
      plugin_configs: { p: { plugins: { first: {}, 'key-auth': {} } } },
      routes: {
        r: { uri: '/*', service_id: 's', plugin_config_id: 'p', plugins: { second: { _meta: { disable: true } } } },
      },
      consumer_groups: { team: { plugins: { third: {} } } },
      consumers: { jack: { username: 'jack', group_id: 'team', plugins: { first: {}, 'key-auth': { key: 'k' } } } },
    })
    const said = await ask('/')
    const from = (all: Rehearsal['plugins']) =>
      all.map(({ name, from: { kind, id }, overrides, disabled }) => {
        const over = overrides.map(each => `${each.kind}/${each.id}`).join()
        return `${name} ${kind}/${id}${over === '' ? '' : ` over ${over}`}${disabled ? ' disabled' : ''}`
      })
    assert.deepEqual(from(said.plugins), [
      'key-auth plugin_configs/p',
      'first plugin_configs/p over services/s',
      'second routes/r over services/s disabled',
    ])
    assert.deepEqual(from(said.global_plugins), ['third global_rules/g'])
    assert.deepEqual(said.order.rewrite, ['third', 'key-auth', 'first'])
    assert.deepEqual(said.order.access, ['third', 'first'])
    assert.deepEqual(said.plugins[1]!.phases, ['rewrite', 'access', 'header_filter', 'log'])
    assert.deepEqual(said.consumer, { username: undefined, not_evaluated: ['key-auth'] })
    assert.deepEqual((said.upstream as { from: object }).from, { kind: 'services', id: 's' })

    const asJack = await ask('/', { consumer: 'jack' })
    assert.deepEqual(from(asJack.plugins), [
      'key-auth plugin_configs/p',
      'first consumers/jack over plugin_configs/p,services/s',
      'third consumer_groups/team',
      'second routes/r over services/s disabled',
    ])
    assert.deepEqual(asJack.order.rewrite, ['third', 'key-auth', 'first', 'third'])
    assert.deepEqual(asJack.order.access, ['third', 'first', 'third'])
    assert.deepEqual(asJack.consumer, { username: 'jack', not_evaluated: [] })
    const asked = { method: 'GET', uri: '/', headers: ['Host', 'a'], remote_addr: '::1', body: undefined }
    const unknown = await rehearse({ ...asked, consumer: 'jill' }, gateway.gateway.options)
    assert.deepEqual(unknown, { problem: 'there is no consumer jill' })
  })

  it('sends nothing, probes nothing and calls no hook', async () => {
    const checks = { active: { http_path: '/health', healthy: { interval: 1 } } }
    await start({
      routes: { r: { uri: '/*', plugins: { first: {} }, upstream: { nodes: upstream.nodes, checks } } },
    })
    const said = await ask('/', { method: 'POST', body: 'of nobody' })
    assert.deepEqual(said.upstream, {
      from: { kind: 'routes', id: 'r' },
      type: 'roundrobin',
      scheme: 'http',
      nodes: [{ host: '127.0.0.1', port: upstream.port, weight: 1, priority: 0 }],
      service_name: undefined,
    })
    await new Promise(resolve => setImmediate(resolve))
    const { keeper } = gateway.upstreams
    assert.deepEqual([called, upstream.received.length, keeper.list().length], [[], 0, 0])
    assert.deepEqual(gateway.book.totals(), {})
    // A request has its nodes probed.
    assert.equal((await fetch(gateway.url)).status, 200)
    await until(() => keeper.list().length === 1, 'the upstream is checked')
  })

  it('says what is missing, and what would be refused before any route', async () => {
    await start({
      routes: {
        lacks: { uri: '/lacks', service_id: 'none', plugins: { first: {} } },
        empty: { uri: '/empty', plugins: { first: {} } },
      },
    })
    const lacks = await ask('/lacks')
    assert.deepEqual(lacks.lack, { status: 404, message: 'service none of the route does not exist' })
    assert.deepEqual([lacks.plugins, lacks.order.rewrite, lacks.upstream], [[], [], lacks.lack])
    const empty = await ask('/empty')
    assert.deepEqual(empty.upstream, { status: 503, message: 'missing upstream configuration in Route or Service' })
    const nowhere = await ask('/nowhere')
    assert.deepEqual([nowhere.route, nowhere.candidates, nowhere.refused], [undefined, [], undefined])
    const noHost = await ask('/lacks', { headers: [] })
    assert.deepEqual(noHost.refused, { status: 400, message: '400 Bad Request: no Host' })
    assert.equal((await ask('/../x')).refused?.status, 400)
  })

  it('shows at most fifty candidates, the one that serves among them', async () => {
    const many = Array.from({ length: 70 }, (_, at) => [`r${at}`, route({ methods: ['PUT'], priority: 100 - at })])
    await start({ routes: { ...Object.fromEntries(many), last: route({ priority: -1 }) } })
    const said = await ask('/a/b')
    assert.deepEqual([said.candidates.length, said.more_candidates, said.route?.id], [51, 20, 'last'])
    assert.equal(said.candidates.at(-1)!.matches, true)
  })
})
