// Snapshots that follow one another: each shows what was current when it was, whole, however it came about.

import assert from 'node:assert/strict'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { noAccounts } from '../../core/budgets/touched.ts'
import type { Consumer, Upstream } from '../../core/context.ts'
import type { GatewayError } from '../../core/errors.ts'
import { silent } from '../../core/observe/log.ts'
import { MetricsWriter } from '../../core/observe/metrics-writer.ts'
import { plugin } from '../../core/plugin.ts'
import { HttpUpstream } from '../../core/proxy/http-upstream.ts'
import { reply } from '../../core/reply.ts'
import type { RouterName } from '../../core/router/routers.ts'
import type { ServedRoute } from '../../core/served-route.ts'
import type { Snapshot, SnapshotEnv } from '../../core/snapshot.ts'
import type { Change, Item, Kind } from '../../core/store/store.ts'
import { Sync } from '../../core/sync.ts'
import { builtins } from '../../plugins/index.ts'
import { makeContext } from '../helpers/context.ts'
import { ledgers } from '../helpers/ledgers.ts'
import { noAccount } from '../helpers/no-account.ts'
import { until } from '../helpers/until.ts'
import { upstreamEnv } from '../helpers/upstream-env.ts'

type Values = { readonly [id: string]: object | undefined }
type Edit = { readonly [K in Kind]?: Values }

const upstream = { nodes: { '127.0.0.1:1': 1 } }
/** Does nothing, under a name, but tell its metadata. */
const marker = (name: string) =>
  plugin({
    name,
    priority: 1,
    version: 1,
    schema: { type: 'object' },
    setup: (_config, { metadata }) => ({ access: () => metadata && reply(200, JSON.stringify(metadata)) }),
  })
const upstreams = upstreamEnv()

describe('snapshots', () => {
  let sync: Sync
  let tell: (changes: readonly Change[]) => void
  let revision: number
  let applied: number
  /** Which plugins were set up and closed. */
  let steps: string[]
  const env: SnapshotEnv = {
    now: Date.now,
    random: Math.random,
    upstreams,
    log: silent,
    metrics: new MetricsWriter({ publish() {} }),
    ledger: ledgers(),
    accounts: noAccounts,
    transport: upstreams.transport,
    gcpTokens: noAccount(),
    plugins: new Map(
      [
        ...builtins,
        ...['a', 'b', 'c'].map(marker),
        plugin({
          name: 'noted',
          priority: 1,
          version: 1,
          schema: { type: 'object', properties: { as: { type: 'string' } } },
          setup({ as }, { owner }) {
            steps.push(`+${owner.kind} ${as}`)
            return { close: () => void steps.push(`-${owner.kind} ${as}`) }
          },
        }),
      ].map(each => [each.name, each]),
    ),
  }

  beforeEach(async () => {
    steps = []
    revision = 1
    applied = 0
    sync = await started([])
  })
  afterEach(() => sync.close())
  after(() => upstreams.close())

  async function started(items: readonly Item[], router: RouterName = 'radixtree_host_uri'): Promise<Sync> {
    const made = new Sync({
      env: { ...env, router },
      source: {
        list: async () => ({ items, revision: 1 }),
        watch(_since, changed) {
          tell = changed
          return () => {}
        },
      },
      applied: (at, rejected) => {
        applied = at
        assert.deepEqual(rejected, [])
      },
    })
    await made.start()
    return made
  }

  function item(kind: Kind, id: string, value: object): Item {
    return { kind, id, value: { id, ...value }, createRevision: revision, modRevision: revision }
  }

  /** One change after the other, in one batch; resolves with the snapshot that has them. */
  async function put(...edits: Edit[]): Promise<Snapshot> {
    revision++
    tell(
      edits.flatMap(edit =>
        Object.entries(edit).flatMap(([kind, values]) =>
          Object.entries(values).map(
            ([id, value]): Change => ({
              kind: kind as Kind,
              id,
              revision,
              item: value === undefined ? undefined : item(kind as Kind, id, value),
            }),
          ),
        ),
      ),
    )
    await until(() => applied === revision, 'the batch is applied')
    return sync.current
  }

  const ask = (target: string, host = 'gateway.test') => makeContext({ target, headers: { Host: host } })
  async function serving(snapshot: Snapshot, target: string, host?: string): Promise<string | undefined> {
    return snapshot.match(await ask(target, host))?.facts.id
  }
  /** The names of the plugins that a request to `target` meets. */
  async function plugins(snapshot: Snapshot, target: string): Promise<string[] | undefined> {
    return snapshot.match(await ask(target))?.route.plan.access.map(step => step.plugin)
  }

  it('show a request what was current when it began, for as long as it lasts', async () => {
    const first = await put({
      routes: { r: { uri: '/r', plugins: { a: {} }, service_id: 's' }, gone: { uri: '/gone', upstream } },
      services: { s: { upstream, plugins: { b: {} }, name: 'one' } },
      consumers: { jack: { username: 'jack', plugins: { 'key-auth': { key: 'one' }, c: {} } } },
    })
    first.enter()
    const second = await put({
      routes: { r: { uri: '/other', upstream }, gone: undefined, late: { uri: '/late', upstream } },
      services: { s: { upstream, name: 'two' } },
      consumers: { jack: { username: 'jack', plugins: { 'key-auth': { key: 'two' } } } },
    })
    for (const [snapshot, yes, no] of [
      [first, ['/r', '/gone'], ['/other', '/late']],
      [second, ['/other', '/late'], ['/r', '/gone']],
    ] as const) {
      for (const path of yes) assert.ok(await serving(snapshot, path), path)
      for (const path of no) assert.equal(await serving(snapshot, path), undefined, path)
    }
    assert.deepEqual(await plugins(first, '/r'), ['b', 'a'])
    assert.equal(first.match(await ask('/r'))?.facts.service?.name, 'one')
    assert.equal(first.find('key-auth', 'one')?.username, 'jack')
    assert.equal(first.find('key-auth', 'two'), undefined)
    assert.equal(second.find('key-auth', 'one'), undefined)
    const [jack, newJack] = [first.find('key-auth', 'one')!, second.find('key-auth', 'two')!]
    assert.deepEqual([...first.pluginsOf(jack).own.keys()], ['c'])
    assert.deepEqual([...second.pluginsOf(newJack).own.keys()], [])
    first.leave()
    await until(async () => (await serving(first, '/gone')) === undefined, 'what nobody sees any more is taken out')
    assert.equal(await serving(second, '/other'), 'r')
  })

  it('change whole, however many resources an edit has', async function () {
    this.timeout(20_000)
    const many = (where: string): Values =>
      Object.fromEntries(Array.from({ length: 1_500 }, (_, at) => [`${at}`, { uri: `/${where}/${at}`, upstream }]))
    await put({ routes: many('old') })
    const asked = await Promise.all(['/old/0', '/old/1499', '/new/0', '/new/1499'].map(path => ask(path)))
    const seen = new Set<string>()
    let slices = 0
    const look = () => {
      slices++
      seen.add(asked.map(ctx => (sync.current.match(ctx) === undefined ? '-' : '+')).join(''))
    }
    const done = put({ routes: many('new') })
    let over = false
    void done.then(() => {
      over = true
    })
    while (!over) {
      look()
      await new Promise(resolve => setImmediate(resolve))
    }
    look()
    assert.deepEqual([...seen], ['++--', '--++'])
    assert.ok(slices > 3, 'the loop turns while the edit is prepared')
  })

  it('give a route without hosts those of its service, and new ones when the service gets new ones', async () => {
    await put({ routes: { r: { uri: '/r', service_id: 's' }, own: { uri: '/own', host: 'own.com', service_id: 's' } } })
    const hosts = async () => {
      const served = []
      for (const host of ['one.com', 'two.com', 'own.com', 'else.com'])
        for (const path of ['/r', '/own']) if (await serving(sync.current, path, host)) served.push(host + path)
      return served
    }
    const anyHost = ['one.com/r', 'two.com/r', 'own.com/r', 'own.com/own', 'else.com/r']
    assert.deepEqual(await hosts(), anyHost)
    await put({ services: { s: { upstream, hosts: ['one.com', 'two.com'] } } })
    assert.deepEqual(await hosts(), ['one.com/r', 'two.com/r', 'own.com/own'])
    await put({ services: { s: { upstream, hosts: ['two.com'], desc: 'other' } } })
    assert.deepEqual(await hosts(), ['two.com/r', 'own.com/own'])
    await put({ services: { s: undefined } })
    assert.deepEqual(await hosts(), anyHost)
    await put({ routes: { r: undefined } }, { services: { s: { upstream, hosts: ['one.com'] } } })
    assert.deepEqual(await hosts(), ['own.com/own'])
  })

  it('keep what a request sees also when it is dropped by a later edit than the next', async () => {
    const first = await put({ routes: { r: { uri: '/r', plugins: { noted: { as: 'one' } }, upstream } } })
    first.enter()
    await plugins(first, '/r')
    await put({ routes: { other: { uri: '/other', upstream } } })
    await put({ routes: { r: undefined } })
    await put({ routes: { other: undefined } })
    assert.equal(await serving(first, '/r'), 'r')
    assert.deepEqual(steps, ['+route one'])
    first.leave()
    await until(() => steps.includes('-route one'), 'it is closed')
    assert.equal(await serving(first, '/r'), undefined)
  })

  it('make nothing of a route before it is asked for, and nothing anew that stays as it is', async () => {
    const routes = {
      1: { uri: '/1', plugins: { noted: { as: 'one' } }, service_id: 's' },
      2: { uri: '/2', plugins: { noted: { as: 'two' } }, service_id: 's' },
    }
    await put({ routes, services: { s: { plugins: { a: {} }, upstream } } })
    assert.deepEqual(steps, [])
    await plugins(sync.current, '/1')
    assert.deepEqual(steps, ['+route one'])
    await put({
      services: { s: { plugins: { a: {} }, upstream, desc: 'new' } },
      routes: { 1: { ...routes[1], priority: 5 } },
    })
    assert.deepEqual(await plugins(sync.current, '/1'), ['a'])
    assert.deepEqual(steps, ['+route one'])
  })

  it('share what a service brings, and carry it while its configuration is equal', async () => {
    const service = { plugins: { noted: { as: 'shared' } }, upstream }
    const one = { uri: '/1', service_id: 's' }
    await put({ routes: { 1: one, 2: { ...one, uri: '/2' } }, services: { s: service } })
    await plugins(sync.current, '/1')
    await plugins(sync.current, '/2')
    await put({ services: { s: { ...service, desc: 'new' } } }, { routes: { 1: undefined } })
    await plugins(sync.current, '/2')
    assert.deepEqual(steps, ['+service shared'])
    await put({ services: { s: { ...service, plugins: { noted: { as: 'other' } } } } })
    await plugins(sync.current, '/2')
    await until(() => steps.length === 3, 'the old one is closed')
    assert.deepEqual(steps.slice(1).sort(), ['+service other', '-service shared'])
  })

  it('have the upstream that a route, its service or their ids name, and carry it from edit to edit', async () => {
    const paths = ['/by-id', '/by-service', '/inline', '/slow']
    const upstreams = () => Promise.all(paths.map(async path => sync.current.match(await ask(path))!.route.upstream))
    await put({
      upstreams: { u: { ...upstream, desc: 'one' } },
      services: { inline: { upstream }, named: { upstream_id: 'u' } },
      routes: {
        1: { uri: '/by-id', upstream_id: 'u' },
        2: { uri: '/by-service', service_id: 'named' },
        3: { uri: '/inline', service_id: 'inline' },
        4: { uri: '/slow', upstream_id: 'u', timeout: { connect: 1, send: 1, read: 99 } },
      },
    })
    const before = await upstreams()
    assert.ok(before[0] === before[1] && before[0] !== before[3])
    const same = async () => (await upstreams()).map((each, at) => each === before[at])
    await put({ upstreams: { u: { ...upstream, desc: 'two' } }, services: { inline: { upstream, desc: 'two' } } })
    await put({ routes: { 1: { uri: '/by-id', upstream_id: 'u', priority: 2 } } })
    assert.deepEqual(await same(), [true, true, true, true])
    await put({ upstreams: { u: { nodes: { '127.0.0.1:2': 1 } } } })
    assert.deepEqual(await same(), [false, false, true, false])
  })

  it('tell two consumers with one credential apart by their ids, whoever came first', async () => {
    const jack = { username: 'jack', plugins: { 'key-auth': { key: 'k' } } }
    await put({ consumers: { jack } })
    await put({ consumers: { bob: { ...jack, username: 'bob' } } })
    assert.equal(sync.current.find('key-auth', 'k')?.username, 'jack')
    await put({ consumers: { jack: undefined } })
    assert.equal(sync.current.find('key-auth', 'k')?.username, 'bob')
    await put({ consumers: { bob: undefined } })
    assert.equal(sync.current.find('key-auth', 'k'), undefined)
  })

  it('are after any edits what a fresh start would make of the same resources', async function () {
    this.timeout(60_000)
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(edits, { minLength: 1, maxLength: 4 }), { maxLength: 8 }), async batches => {
        const edited = await started([])
        const used: Snapshot[] = []
        const now = new Map<string, Item>()
        for (const batch of batches) {
          // Requests that are under way keep what they see, and change nothing for others.
          if (revision % 2 === 0) used.push(edited.current)
          used.at(-1)?.enter()
          if (revision % 4 === 0) used.pop()?.leave()
          await put(...batch)
          await picture(edited.current)
          for (const [kind, values] of batch.flatMap(edit => Object.entries(edit))) {
            for (const [id, value] of Object.entries(values)) {
              if (value === undefined) now.delete(`${kind}/${id}`)
              else now.set(`${kind}/${id}`, item(kind as Kind, id, value))
            }
          }
        }
        const fresh = await started([...now.values()])
        assert.deepEqual(await picture(edited.current), await picture(fresh.current))
      }),
      { numRuns: 200, seed: 20_261_121 },
    )
  })

  for (const router of ['radixtree_host_uri', 'radixtree_uri'] as const) {
    it(`leave nothing of editions that nobody sees (${router})`, async function () {
      this.timeout(120_000)
      await sync.close()
      sync = await started([], router)
      setFlagsFromString('--expose-gc')
      const collect = runInNewContext('gc') as () => void
      const edit = (at: number) => {
        const padded = () => ({ a: { at, padding: Buffer.alloc(20_000, 97).toString() } })
        return put({
          routes: {
            r: { uri: '/r', hosts: ['gateway.test', `${'h'.repeat(20_000)}${at}`], plugins: padded(), upstream },
          },
          consumers: { jack: { username: 'jack', plugins: { ...padded(), 'key-auth': { key: `${at}` } } } },
        })
      }
      const used = async () => {
        await plugins(sync.current, '/r')
        collect()
        return process.memoryUsage().heapUsed
      }
      await edit(0)
      const before = await used()
      for (let at = 1; at <= 1_000; at++) {
        await edit(at)
        if (at % 100 === 0) await plugins(sync.current, '/r')
      }
      assert.ok((await used()) - before < 10_000_000, 'of 40 MB')
    })
  }

  /** Everything about a snapshot that can be seen of these resources. */
  async function picture(snapshot: Snapshot): Promise<unknown> {
    const seen: unknown[] = [snapshot.globalOnly.access.map(step => step.plugin)]
    for (const host of ['one.com', 'two.com', 'x.two.com']) {
      for (const path of ['/1', '/2', '/1/x', '/']) {
        const match = snapshot.match(await ask(path, host))
        const consumer = snapshot.find('key-auth', 'k1')
        const refusal = match && (await refusalOf(match.route.upstream))
        seen.push([match?.facts, match && (await accessOf(match.route, consumer)), refusal, consumer])
      }
    }
    return seen
  }
})

/** The plugins that a request meets in access and what they tell; the status where it is refused before. */
async function accessOf(route: ServedRoute, consumer: Consumer | undefined): Promise<unknown> {
  try {
    const { access } = consumer ? route.planFor(consumer) : route.plan
    const ctx = await makeContext()
    return await Promise.all(access.map(async ({ plugin, hook }) => [plugin, String((await hook(ctx))?.body)]))
  } catch (error) {
    return (error as GatewayError).status
  }
}

/** With which status an upstream that is none refuses; undefined for one that would send. */
async function refusalOf(upstream: Upstream): Promise<number | undefined> {
  if (upstream instanceof HttpUpstream) return undefined
  try {
    await upstream.send(await makeContext())
  } catch (error) {
    return (error as GatewayError).status
  }
  return 0
}

const some = <T>(value: T) => fc.option(fc.constant(value), { nil: undefined })
const markers = fc.subarray(['a', 'b', 'c']).map(names => Object.fromEntries(names.map(name => [name, {}])))
const hosts = fc.constantFrom(undefined, ['one.com'], ['*.two.com', 'two.com'])
const maybe = (value: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined))
const route = fc
  .record({
    uri: fc.constantFrom('/1', '/2', '/*', '/1/*'),
    hosts,
    priority: fc.constantFrom(0, 1),
    status: fc.constantFrom(1, 1, 1, 0),
    plugins: markers,
    service_id: fc.constantFrom(undefined, 's1', 's2'),
    upstream_id: fc.constantFrom(undefined, 'u1'),
    plugin_config_id: fc.constantFrom(undefined, undefined, 'p1'),
    name: some('named'),
  })
  .map(maybe)
const service = fc
  .record({ hosts, plugins: markers, upstream: some(upstream), upstream_id: some('u1'), name: some('n') })
  .map(({ upstream_id, ...rest }) => maybe({ ...rest, ...(rest.upstream === undefined && { upstream_id }) }))
const key = fc.constantFrom('k1', 'k2').map(key => ({ 'key-auth': { key } }))
const consumer = fc
  .record({ known: fc.oneof(key, fc.constant({})), plugins: markers, group_id: fc.constantFrom(undefined, 'cg1') })
  .map(({ known, plugins, group_id }) => maybe({ plugins: { ...plugins, ...known }, group_id }))
const set = markers.map(plugins => ({ plugins }))
const gone = fc.constant(undefined)

/** An edit of one resource. */
const edits: fc.Arbitrary<Edit> = fc.oneof(
  fc
    .tuple(fc.constantFrom('r1', 'r2', 'r3'), fc.oneof(gone, route, route))
    .map(([id, value]) => ({ routes: { [id]: value } })),
  fc
    .tuple(fc.constantFrom('s1', 's2'), fc.oneof(gone, service, service))
    .map(([id, value]) => ({ services: { [id]: value } })),
  fc.oneof(gone, fc.constant(upstream)).map(value => ({ upstreams: { u1: value } })),
  fc.tuple(fc.constantFrom('g1', 'g2'), fc.oneof(gone, set)).map(([id, value]) => ({ global_rules: { [id]: value } })),
  fc.oneof(gone, set).map(value => ({ plugin_configs: { p1: value } })),
  fc.oneof(gone, set).map(value => ({ consumer_groups: { cg1: value } })),
  fc.constantFrom(undefined, { word: 'x' }, { word: 'y' }).map(value => ({ plugin_metadata: { a: value } })),
  fc.tuple(fc.constantFrom('c1', 'c2'), fc.oneof(gone, consumer, consumer)).map(([username, value]) => ({
    consumers: { [username]: value && { username, ...value } },
  })),
  fc.tuple(fc.constantFrom('c1', 'c2'), fc.constantFrom('x', 'y'), fc.oneof(gone, key)).map(([owner, id, plugins]) => ({
    consumers: { [`${owner}/credentials/${id}`]: plugins && { plugins } },
  })),
)
