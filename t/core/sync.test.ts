// From the store to what is served: bad items, lost watches, absent sources, and instances that outlive their snapshots.

import assert from 'node:assert/strict'
import { Agent, get } from 'node:http'
import { noAccounts } from '../../core/budgets/touched.ts'
import { MetricsReader } from '../../core/observe/metrics-reader.ts'
import { MetricsWriter } from '../../core/observe/metrics-writer.ts'
import { plugin } from '../../core/plugin.ts'
import type { Change, ConfigSource, Item, Kind, Revision } from '../../core/store/store.ts'
import { type Rejected, Sync } from '../../core/sync.ts'
import { makeContext } from '../helpers/context.ts'
import { startGateway } from '../helpers/gateway.ts'
import { openJournal } from '../helpers/journal.ts'
import { ledgers } from '../helpers/ledgers.ts'
import { noAccount } from '../helpers/no-account.ts'
import { until } from '../helpers/until.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { upstreamEnv } from '../helpers/upstream-env.ts'

/** A store of which a test says what it lists and what it tells. */
class Source implements ConfigSource {
  items: Item[] = []
  revision: Revision = 1
  /** While it is set, listing fails with it. */
  away: Error | undefined
  lists = 0
  watches: {
    since: Revision
    changed: (changes: readonly Change[]) => void
    lost: (error: Error) => void
    ended: boolean
  }[] = []

  async list() {
    this.lists++
    if (this.away !== undefined) throw this.away
    return { items: [...this.items], revision: this.revision }
  }

  watch(since: Revision, changed: (changes: readonly Change[]) => void, lost: (error: Error) => void) {
    const watch = { since, changed, lost, ended: false }
    this.watches.push(watch)
    return () => {
      watch.ended = true
    }
  }

  /** Makes an item of the next revision, without telling anybody. */
  item(kind: Kind, id: string, value: object): Item {
    this.revision++
    return { kind, id, value: { id, ...value }, createRevision: this.revision, modRevision: this.revision }
  }

  /** Writes and tells; `undefined` deletes. */
  put(kind: Kind, id: string, value: object | undefined): void {
    const item = value === undefined ? undefined : this.item(kind, id, value)
    if (item === undefined) this.revision++
    this.items = this.items.filter(each => each.kind !== kind || each.id !== id)
    if (item !== undefined) this.items.push(item)
    this.watches.at(-1)!.changed([{ kind, id, revision: this.revision, item }])
  }
}

const upstream = { nodes: { '127.0.0.1:1': 1 } }

describe('sync', () => {
  let source: Source
  let sync: Sync
  let reader: MetricsReader
  let metrics: MetricsWriter
  let applied: { revision: Revision; rejected: readonly Rejected[] }[]
  /** Which instances were set up and closed, in order. */
  let steps: string[]
  /** What the closing of instances waits for. */
  let closing: Record<string, Promise<void>>
  const journal = openJournal()
  const upstreams = upstreamEnv()

  beforeEach(() => {
    source = new Source()
    applied = []
    steps = []
    closing = {}
    journal.lines.length = 0
    reader = new MetricsReader()
    metrics = new MetricsWriter({
      publish: series => reader.add(1, series),
      withdraw: series => reader.remove(1, series),
    })
    sync = new Sync({
      source,
      retryDelay: 5,
      env: {
        now: Date.now,
        random: Math.random,
        upstreams,
        log: journal.log,
        metrics,
        ledger: ledgers(),
        accounts: noAccounts,
        transport: upstreams.transport,
        gcpTokens: noAccount(),
        plugins: new Map([marked, fragile].map(each => [each.name, each])),
      },
      applied: (revision, rejected) => void applied.push({ revision, rejected }),
    })
  })
  afterEach(async () => {
    await sync.close()
  })
  after(() => upstreams.close())

  const marked = plugin({
    name: 'marked',
    priority: 1,
    version: 0.1,
    schema: { type: 'object', properties: { as: { type: 'string' } }, required: ['as'], additionalProperties: false },
    setup({ as }) {
      steps.push(`+${as}`)
      return {
        async close() {
          await closing[as]
          steps.push(`-${as}`)
        },
      }
    },
  })
  const fragile = plugin({
    name: 'fragile',
    priority: 1,
    version: 0.1,
    schema: { type: 'object' },
    setup() {
      throw new Error('cannot be set up')
    },
  })
  const route = (as: string) => ({ uri: `/${as}`, plugins: { marked: { as } }, upstream })

  /** The route that serves a path now, if there is one; its plugins are set up. */
  async function serving(path: string): Promise<string | undefined> {
    const match = sync.current.match(await makeContext({ target: path }))
    void match?.route.plan
    return match?.facts.id
  }
  const revision = (at: Revision) => until(() => applied.at(-1)?.revision === at, `revision ${at} is applied`)

  it('serves what is listed, then what changes, and forgets what is deleted', async () => {
    source.items = [source.item('routes', '1', route('one'))]
    await sync.start()
    assert.deepEqual([applied, source.watches[0]!.since], [[{ revision: 2, rejected: [] }], 2])
    assert.equal(await serving('/one'), '1')
    source.put('routes', '2', route('two'))
    await revision(3)
    assert.deepEqual([await serving('/one'), await serving('/two')], ['1', '2'])
    source.put('routes', '1', undefined)
    await revision(4)
    assert.deepEqual([await serving('/one'), await serving('/two')], [undefined, '2'])
  })

  describe('with metrics of routes', () => {
    const served = async (path: string) => {
      const { current } = sync
      const match = current.match(await makeContext({ target: path }))
      current.enter()
      const counter = metrics.counter('requests', 'R', ['route'])
      return { log: () => counter.add([match!.facts.name ?? match!.facts.id]), leave: () => current.leave() }
    }
    const counted = () => [...reader.print().matchAll(/route="(\w+)"/g)].map(([, name]) => name).join()

    it('forgets those of a route that is deleted, again when its last request has logged', async () => {
      source.items = [source.item('routes', 'a', route('one')), source.item('routes', 'b', route('two'))]
      await sync.start()
      const request = await served('/one')
      request.log()
      const other = await served('/two')
      other.log()
      other.leave()
      assert.equal(counted(), 'a,b')
      // A later snapshot with the route, which no request of it saw.
      source.put('routes', 'b', route('three'))
      await revision(source.revision)
      source.put('routes', 'a', undefined)
      await revision(source.revision)
      assert.equal(counted(), 'b')
      request.log()
      assert.equal(counted(), 'b,a')
      request.leave()
      await until(() => counted() === 'b', 'it is forgotten for good')
    })

    it('forgets those by a name that no route has any more', async () => {
      const named = (name: string, as: string) => ({ ...route(as), name })
      source.items = [source.item('routes', 'a', named('x', 'one')), source.item('routes', 'b', named('x', 'two'))]
      await sync.start()
      for (const path of ['/one', '/two']) {
        const request = await served(path)
        request.log()
        request.leave()
      }
      source.put('routes', 'a', named('y', 'one'))
      await revision(source.revision)
      assert.equal(counted(), 'x')
      source.put('routes', 'b', named('y', 'two'))
      await revision(source.revision)
      assert.equal(counted(), '')
    })
  })

  it('builds once for all that comes in one turn of the loop', async () => {
    await sync.start()
    for (let at = 0; at < 100; at++) source.put('routes', `${at}`, route(`${at}`))
    await revision(source.revision)
    assert.equal(applied.length, 2)
    assert.equal(await serving('/99'), '99')
  })

  describe('with a bad item', () => {
    const bad = { uri: '/bad', plugins: { marked: {} }, upstream }

    it('rejects it alone, says why, and serves the others', async () => {
      source.items = [source.item('routes', 'bad', bad), source.item('routes', '1', route('one'))]
      await sync.start()
      const [rejected, ...others] = applied[0]!.rejected
      assert.deepEqual(others, [])
      assert.deepEqual(
        { ...rejected, reason: '' },
        { kind: 'routes', id: 'bad', revision: 2, reason: '', servesOlder: false },
      )
      assert.match(rejected!.reason, /as/)
      assert.equal(await serving('/one'), '1')
      assert.equal(await serving('/bad'), undefined)
    })

    it('rejects one that is no resource for its store', async () => {
      source.items = [{ ...source.item('routes', '1', {}), fault: 'the value is not JSON' }]
      await sync.start()
      assert.deepEqual(
        applied[0]!.rejected.map(({ id, reason }) => [id, reason]),
        [['1', 'the value is not JSON']],
      )
    })

    it('takes the last good one of several versions that a list has', async () => {
      const versions = [route('one'), route('two'), bad]
      source.items = versions.map(version => source.item('routes', '1', version))
      await sync.start()
      assert.equal(await serving('/two'), '1')
      assert.deepEqual(
        applied[0]!.rejected.map(({ id, servesOlder }) => [id, servesOlder]),
        [['1', true]],
      )
    })

    it('goes on serving the version before it, also after listing again', async () => {
      source.items = [source.item('routes', '1', route('one'))]
      await sync.start()
      source.put('routes', '1', bad)
      await revision(3)
      assert.deepEqual(
        applied.at(-1)!.rejected.map(({ id, servesOlder }) => [id, servesOlder]),
        [['1', true]],
      )
      assert.equal(await serving('/one'), '1')
      source.watches[0]!.lost(new Error('compacted'))
      await until(() => source.watches.length === 2, 'it watches again')
      assert.equal(await serving('/one'), '1')
      assert.equal(applied.at(-1)!.rejected.length, 1)
    })

    it('forgets the rejection when the item is put right, deleted, or back at what it was', async () => {
      source.items = [source.item('routes', '1', route('one')), source.item('routes', '2', bad)]
      const good = source.items[0]!
      await sync.start()
      source.put('routes', '2', route('two'))
      await revision(4)
      assert.deepEqual(applied.at(-1)!.rejected, [])
      source.put('routes', '2', bad)
      source.put('routes', '1', bad)
      await revision(6)
      assert.equal(applied.at(-1)!.rejected.length, 2)
      source.put('routes', '2', undefined)
      await revision(7)
      assert.deepEqual(
        applied.at(-1)!.rejected.map(({ id }) => id),
        ['1'],
      )
      // As when a backup is put back under a running gateway.
      source.items = [good]
      source.watches[0]!.lost(new Error('replaced'))
      await until(() => source.watches.length === 2, 'it watches again')
      assert.deepEqual(applied.at(-1)!.rejected, [])
    })

    it('of the kind that only fails when it is set up takes nothing else down', async () => {
      source.items = [source.item('global_rules', 'g', { plugins: { fragile: {} } })]
      await sync.start()
      source.put('routes', '1', route('one'))
      await revision(source.revision)
      assert.equal(await serving('/one'), '1')
    })
  })

  describe('when the watch is lost', () => {
    it('serves what it had, lists again, and watches from there', async () => {
      source.items = [source.item('routes', '1', route('one')), source.item('routes', '2', route('two'))]
      await sync.start()
      source.items = [source.items[1]!, source.item('routes', '3', route('three'))]
      source.watches[0]!.lost(new Error('compacted'))
      assert.equal(await serving('/one'), '1')
      await until(() => source.watches.length === 2, 'it watches again')
      assert.equal(source.watches[1]!.since, source.revision)
      assert.deepEqual([await serving('/one'), await serving('/two'), await serving('/three')], [undefined, '2', '3'])
    })

    it('takes what it lists then, even when other data has the same revisions', async () => {
      source.items = [source.item('routes', '1', route('one'))]
      await sync.start()
      source.revision = 1
      source.items = [source.item('routes', '1', route('other'))]
      source.watches[0]!.lost(new Error('replaced'))
      await until(() => source.watches.length === 2, 'it watches again')
      assert.deepEqual([await serving('/one'), await serving('/other')], [undefined, '1'])
    })

    it('keeps the instances of what did not change', async () => {
      source.items = [source.item('routes', '1', route('one'))]
      await sync.start()
      await serving('/one')
      source.watches[0]!.lost(new Error('compacted'))
      await until(() => source.watches.length === 2, 'it watches again')
      await serving('/one')
      assert.deepEqual(steps, ['+one'])
    })
  })

  describe('when the source is away', () => {
    it('asks until it is there', async () => {
      source.away = new Error('no store')
      source.items = [source.item('routes', '1', route('one'))]
      const started = sync.start()
      await until(() => source.lists >= 3, 'it has asked several times')
      assert.equal(await serving('/one'), undefined)
      source.away = undefined
      await started
      assert.equal(await serving('/one'), '1')
    })

    it('serves the last configuration for as long as it lasts', async () => {
      source.items = [source.item('routes', '1', route('one'))]
      await sync.start()
      source.away = new Error('no store')
      source.watches[0]!.lost(new Error('connection lost'))
      await until(() => source.lists >= 4, 'it has asked several times')
      assert.equal(await serving('/one'), '1')
      source.away = undefined
      await until(() => source.watches.length === 2, 'it watches again')
    })

    it('asks no more once it is closed', async () => {
      source.away = new Error('no store')
      void sync.start()
      await until(() => source.lists >= 2, 'it has asked')
      await sync.close()
      const { lists } = source
      source.away = undefined
      await new Promise(resolve => setTimeout(resolve, 20))
      assert.deepEqual([source.lists, source.watches.length], [lists, 0])
    })
  })

  describe('closes an instance', () => {
    it('once, when its config is gone, and sets up the new one when it is first used', async () => {
      source.items = [source.item('routes', '1', route('one'))]
      await sync.start()
      await serving('/one')
      source.put('routes', '1', route('two'))
      await until(() => steps.includes('-one'), 'it is closed')
      await serving('/two')
      assert.deepEqual(steps, ['+one', '-one', '+two'])
      await sync.close()
      assert.deepEqual(steps, ['+one', '-one', '+two', '-two'])
    })

    it('that was never used without setting it up for that', async () => {
      source.items = [source.item('routes', '1', route('one'))]
      await sync.start()
      source.put('routes', '1', undefined)
      await revision(source.revision)
      await sync.close()
      assert.deepEqual(steps, [])
    })

    it('only when the last request that may use it has left, whatever was applied meanwhile', async () => {
      source.items = [source.item('routes', '1', route('one'))]
      await sync.start()
      await serving('/one')
      const used = sync.current
      used.enter()
      used.enter()
      let other = used
      for (const as of ['two', 'three', 'four']) {
        source.put('routes', '1', route(as))
        await revision(source.revision)
        await serving(`/${as}`)
        if (as === 'two') {
          other = sync.current
          other.enter()
        }
      }
      await until(() => steps.includes('-three'), 'those nobody uses are closed')
      assert.ok(!steps.includes('-one') && !steps.includes('-two'))
      used.leave()
      await new Promise(setImmediate)
      assert.ok(!steps.includes('-one'))
      used.leave()
      await until(() => steps.includes('-one'), 'it is closed')
      other.leave()
      await until(() => steps.includes('-two'), 'it is closed')
      assert.ok(!steps.includes('-four'))
    })

    it('that came back unchanged not at all', async () => {
      source.items = [source.item('routes', '1', route('one')), source.item('routes', '2', route('two'))]
      await sync.start()
      await serving('/one')
      // The older snapshot is still used while newer ones come and go.
      const used = sync.current
      used.enter()
      source.put('routes', '2', route('other'))
      await revision(source.revision)
      used.leave()
      source.put('routes', '2', route('third'))
      await revision(source.revision)
      await serving('/one')
      assert.deepEqual(
        steps.filter(step => step.includes('one')),
        ['+one'],
      )
    })

    it('and waits for that when it is closed itself', async () => {
      source.items = [source.item('routes', '1', route('one')), source.item('routes', '2', route('two'))]
      await sync.start()
      await serving('/one')
      await serving('/two')
      const closes = Promise.withResolvers<void>()
      closing.one = closes.promise
      source.put('routes', '1', undefined)
      await revision(source.revision)
      let closed = false
      const over = sync.close().then(() => {
        closed = true
      })
      await new Promise(setImmediate)
      assert.equal(closed, false)
      closes.resolve()
      await over
      assert.deepEqual(steps.slice(2).sort(), ['-one', '-two'])
    })

    it('and goes on when one of them cannot be closed', async () => {
      source.items = [source.item('routes', '1', route('one'))]
      await sync.start()
      await serving('/one')
      closing.one = Promise.reject(new Error('stuck'))
      closing.one.catch(() => {})
      source.put('routes', '1', route('two'))
      await until(() => journal.lines.some(({ message }) => message === 'plugin could not be closed'), 'it is logged')
      assert.equal(await serving('/two'), '1')
    })
  })

  it('breaks no request while a thousand changes are applied', async function () {
    this.timeout(120_000)
    const target = await startUpstream(received => received.json(200, {}))
    const nodes = { [`127.0.0.1:${target.port}`]: 1 }
    const stable = { uri: '/stable', upstream: { nodes } }
    const gateway = await startGateway({
      resources: { routes: { stable, changing: { uri: '/changing', upstream: { nodes } } } },
    })
    const agent = new Agent({ keepAlive: true })
    const failures: string[] = []
    let served = 0
    let over = false
    const ask = (path: string) =>
      new Promise<void>(resolve => {
        const asked = get(gateway.url + path, { agent }, response => {
          if (response.statusCode === 200) served++
          else failures.push(`${path} ${response.statusCode}`)
          response.resume().once('close', resolve)
        })
        asked.once('error', error => {
          failures.push(`${path} ${error.message}`)
          resolve()
        })
      })
    const clients = Array.from({ length: 8 }, async (_, at) => {
      while (!over) await ask(at % 2 === 0 ? '/stable' : '/changing')
    })
    for (let at = 0; at < 1_000; at++) {
      await gateway.put({
        routes: {
          changing: {
            uri: '/changing',
            plugins: { 'response-rewrite': { headers: { set: { 'X-At': `${at}` } } } },
            upstream: { nodes },
          },
          [`extra-${at % 50}`]: at % 3 === 0 ? null : { uri: `/extra-${at}`, upstream: { nodes } },
        },
      })
    }
    over = true
    await Promise.all(clients)
    assert.deepEqual(failures, [])
    assert.ok(served > 200, String(served))
    agent.destroy()
    await gateway.close()
    await target.close()
  })
})
