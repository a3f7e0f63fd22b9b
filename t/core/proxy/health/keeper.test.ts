// Who keeps the health of upstreams: each target is probed once, whoever asks for it, and as long as anybody does.
import assert from 'node:assert/strict'
import { type Logger, silent } from '../../../../core/observe/log.ts'
import { cellName, type Watch } from '../../../../core/proxy/health/board.ts'
import { healthChecks, type WrittenChecks } from '../../../../core/proxy/health/checks.ts'
import { HealthKeeper } from '../../../../core/proxy/health/keeper.ts'
import { healthMemory, SharedHealth } from '../../../../core/workers/shared-health.ts'
import { until } from '../../../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../../../helpers/upstream.ts'

describe('the keeper of health', () => {
  let upstreams: ScriptedUpstream[]
  let cells: SharedHealth
  let keeper: HealthKeeper
  let said: string[]

  beforeEach(async () => {
    upstreams = await Promise.all([startUpstream(), startUpstream()])
    cells = new SharedHealth(healthMemory(), 0, Date.now)
    said = []
    const log = { debug() {}, info() {}, error() {}, warn: (_, message) => void said.push(message) } as Logger
    keeper = new HealthKeeper({ cell: name => cells.cell(name), log })
  })
  afterEach(async () => {
    keeper.close()
    await Promise.all(upstreams.map(upstream => upstream.close()))
  })

  const EVERY = 0.01
  const both: WrittenChecks['active'] = {
    healthy: { interval: EVERY },
    unhealthy: { interval: EVERY, http_failures: 2 },
  }
  function watch(ports: readonly number[], active = both, name = '/apisix/upstreams/1'): Watch {
    const checks = healthChecks({ active })
    return {
      key: `${name} ${JSON.stringify(active)}`,
      name,
      checks: checks.active,
      targets: ports.map(port => ({ ip: '127.0.0.1', port, hostname: 'node.test', hostHeader: 'node.test' })),
      clientCert: undefined,
    }
  }
  const statuses = () => keeper.list().flatMap(({ nodes }) => nodes.map(({ port, status }) => [port, status]))
  const probes = () => upstreams.map(({ received }) => received.length)

  it('shows every target, which is healthy until it fails', async () => {
    const [one, two] = upstreams.map(({ port }) => port)
    keeper.watch(0, watch([one!, two!]))
    await until(() => probes().every(count => count > 3), 'both are probed again and again')
    assert.deepEqual(keeper.list(), [
      {
        name: '/apisix/upstreams/1',
        type: 'http',
        nodes: [one, two].map(port => ({
          ip: '127.0.0.1',
          port,
          hostname: 'node.test',
          status: 'healthy',
          counter: { success: 0, http_failure: 0, tcp_failure: 0, timeout_failure: 0 },
        })),
      },
    ])
  })

  it('takes a target for unhealthy when it fails, and back when it has mended, and says so', async () => {
    const [one, two] = upstreams.map(({ port }) => port)
    const changes = cells.changes
    upstreams[1]!.script = ({ response }) => response.writeHead(500).end()
    keeper.watch(0, watch([one!, two!]))
    await until(() => statuses()[1]![1] === 'unhealthy', 'the failing one is unhealthy')
    assert.deepEqual(statuses()[0], [one, 'healthy'])
    assert.equal(cells.changes, changes + 1)
    assert.deepEqual(
      [...keeper.usable()].map(({ port, usable }) => [port, usable]),
      [
        [one, true],
        [two, false],
      ],
    )
    const who = `'node.test(127.0.0.1:${two})'`
    assert.deepEqual(said, [
      `unhealthy HTTP increment (1/2) for ${who}`,
      `unhealthy HTTP increment (2/2) for ${who}`,
      `${who} is unhealthy now; it was mostly_healthy`,
    ])
    upstreams[1]!.script = ({ response }) => response.end()
    await until(() => statuses()[1]![1] === 'healthy', 'it is healthy again')
    assert.deepEqual(said.slice(3), [
      `healthy SUCCESS increment (1/2) for ${who}`,
      `healthy SUCCESS increment (2/2) for ${who}`,
      `${who} is healthy now; it was mostly_unhealthy`,
    ])
  })

  it('probes once for all who ask for the same, until the last of them does no more', async () => {
    const port = upstreams[0]!.port
    let open = 0
    let most = 0
    upstreams[0]!.script = async ({ response }) => {
      most = Math.max(most, ++open)
      await new Promise(resolve => setTimeout(resolve, 20))
      open--
      response.end()
    }
    for (const asker of [0, 1, 2]) keeper.watch(asker, watch([port]))
    assert.equal(keeper.list().length, 1)
    assert.equal(keeper.list()[0]!.nodes.length, 1)
    await until(() => probes()[0]! > 4, 'it is probed')
    assert.equal(most, 1, 'by one at a time')
    keeper.forget(0)
    keeper.unwatch(1, watch([port]).key)
    const before = probes()[0]!
    await until(() => probes()[0]! > before + 2, 'it is probed on')
    keeper.unwatch(2, watch([port]).key)
    keeper.unwatch(2, watch([port]).key)
    assert.deepEqual(keeper.list(), [])
    await until(() => open === 0, 'the last probe is over')
    const after = probes()[0]
    await new Promise(resolve => setTimeout(resolve, 10 * EVERY * 1000))
    assert.equal(probes()[0], after)
  })

  it('keeps the health of targets that stay when others come and go, and forgets that of those that go', async () => {
    const [one, two] = upstreams.map(({ port }) => port)
    for (const upstream of upstreams) upstream.script = ({ response }) => response.writeHead(500).end()
    const off = { healthy: { interval: EVERY }, unhealthy: { http_failures: 2, interval: 3600 } }
    keeper.watch(0, watch([one!, two!], off))
    await until(() => statuses().every(([, status]) => status === 'unhealthy'), 'both are unhealthy')
    keeper.watch(0, watch([one!], off))
    assert.deepEqual(statuses(), [[one, 'unhealthy']])
    upstreams[1]!.script = ({ response }) => response.end()
    keeper.watch(0, watch([two!, one!], off))
    assert.deepEqual(statuses(), [
      [two, 'healthy'],
      [one, 'unhealthy'],
    ])
    const { key, targets } = watch([one!], off)
    const cell = cells.cell(cellName(key, targets[0]!))!
    assert.notEqual(cell.state, 0)
    keeper.unwatch(0, key)
    assert.equal(cell.state, 0)
  })

  it('knows the targets of all threads together, and lets go of one that only a thread that is gone knew', () => {
    const [one, two] = upstreams.map(({ port }) => port)
    keeper.watch(0, watch([one!]))
    keeper.watch(1, watch([two!, one!]))
    assert.deepEqual(
      statuses().map(([port]) => port),
      [one, two],
    )
    keeper.forget(1)
    assert.deepEqual(
      statuses().map(([port]) => port),
      [one],
    )
  })

  it('waits a while for somebody who takes the place of a thread that is gone', async () => {
    const port = upstreams[0]!.port
    upstreams[0]!.script = ({ response }) => response.writeHead(500).end()
    const once = { healthy: { interval: EVERY }, unhealthy: { http_failures: 2 } }
    keeper = new HealthKeeper({ cell: name => cells.cell(name), log: silent, lingerMs: 300 })
    keeper.watch(0, watch([port], once))
    await until(() => statuses()[0]![1] === 'unhealthy', 'it is unhealthy')
    keeper.forget(0)
    keeper.watch(1, watch([port], once))
    await new Promise(resolve => setTimeout(resolve, 400))
    assert.deepEqual(statuses(), [[port, 'unhealthy']])
    keeper.forget(1)
    assert.deepEqual(statuses(), [[port, 'unhealthy']])
    await until(() => keeper.list().length === 0, 'nobody came')
  })

  it('probes no more at once than it is allowed', async () => {
    let open = 0
    let most = 0
    upstreams[0]!.script = async ({ response }) => {
      most = Math.max(most, ++open)
      await new Promise(resolve => setTimeout(resolve, 5))
      open--
      response.end()
    }
    const given = watch([upstreams[0]!.port], { ...both, concurrency: 3 })
    const [target] = given.targets
    const many = Array.from({ length: 20 }, (_, at) => ({ ...target!, hostname: `node-${at}` }))
    keeper.watch(0, { ...given, targets: many })
    await until(() => probes()[0]! > 60, 'all are probed')
    assert.equal(most, 3)
  })

  it('probes only targets of the state whose interval is set', async () => {
    const [one, two] = upstreams.map(({ port }) => port)
    keeper.watch(0, watch([one!], { unhealthy: { interval: EVERY } }))
    keeper.watch(0, watch([two!], { healthy: { interval: EVERY } }, '/apisix/routes/r'))
    await until(() => probes()[1]! > 4, 'healthy ones of the other are probed')
    assert.equal(probes()[0], 0)
  })

  it('lists upstreams in the order of their names', () => {
    for (const name of ['/apisix/upstreams/2', '/apisix/routes/9', '/apisix/upstreams/1'])
      keeper.watch(0, watch([1], { type: 'tcp' }, name))
    assert.deepEqual(
      keeper.list().map(({ name, type }) => [name, type]),
      [
        ['/apisix/routes/9', 'tcp'],
        ['/apisix/upstreams/1', 'tcp'],
        ['/apisix/upstreams/2', 'tcp'],
      ],
    )
  })
})
