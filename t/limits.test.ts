// Limits at the front door: exact whatever the number of workers, kept when workers are replaced, freed when they die.
import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { join } from 'node:path'
import { configFolder, type GatewayProcess, startProcess } from './helpers/process.ts'
import { until } from './helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

for (const workers of [1, 3]) {
  describe(`limits of ${workers === 1 ? 'one worker' : `${workers} workers`}`, function () {
    this.timeout(180_000)
    let gateway: GatewayProcess
    let upstream: ScriptedUpstream

    before(async () => {
      const { folder, file } = configFolder()
      mkdirSync(join(folder, 'plugins'))
      // Whoever asks for it ends the worker, with all that the request has taken.
      writeFileSync(
        join(folder, 'plugins', 'crash.ts'),
        `import { plugin } from 'sluice'
         export default plugin({ name: 'crash', priority: 1, version: 1, schema: { type: 'object' },
           setup: () => ({ access: ctx => { if (ctx.request.headers.has('crash')) process.exit(3) } }) })`,
      )
      writeFileSync(file, `sluice:\n  plugin_dirs: [${join(folder, 'plugins')}]\n`, { flag: 'a' })
      upstream = await startUpstream()
      gateway = await startProcess({ folder, file }, undefined, { APISIX_WORKER_PROCESSES: String(workers) })
    })
    after(async () => {
      await gateway.dispose()
      await upstream.close()
    })

    async function put(path: string, plugins: object): Promise<void> {
      const route = { uri: path, plugins, upstream: { type: 'roundrobin', nodes: upstream.nodes } }
      const { status, body } = await gateway.admin('PUT', `/routes${path}`, route)
      assert.equal(status, 201, JSON.stringify(body))
    }
    /** Over a connection of its own, which the kernel gives to any worker; undefined when it is cut. */
    const ask = (path: string, headers: Record<string, string> = {}) =>
      new Promise<number | undefined>(resolve => {
        request(gateway.urls.requests + path, { headers, agent: new Agent() }, answer => {
          answer.resume().once('end', () => resolve(answer.statusCode))
        })
          .once('error', () => resolve(undefined))
          .end()
      })
    const many = (count: number, path: string) => Promise.all(Array.from({ length: count }, () => ask(path)))
    const passed = (statuses: readonly unknown[]) => statuses.filter(status => status === 200).length
    const page = async () => (await fetch(`${gateway.urls.prometheus}/apisix/prometheus/metrics`)).text()
    const tickets = (text: string, kind: string, state: string) =>
      Number(
        new RegExp(
          `^sluice_ledger_tickets\\{kind="${kind}",backing="shared_memory",state="${state}"\\} (\\d+)`,
          'm',
        ).exec(text)?.[1] ?? 0,
      )

    it('are exact', async () => {
      await put('/counted', { 'limit-count': { count: 50, time_window: 3_600 } })
      assert.equal(passed(await many(150, '/counted')), 50)
      await put('/flowing', { 'limit-req': { rate: 0.0001, burst: 9, nodelay: true, key: 'remote_addr' } })
      assert.equal(passed(await many(50, '/flowing')), 10)
    })

    it('of what is under way are exact', async () => {
      const here = upstream.received.length
      upstream.script = () => {}
      await put('/held', { 'limit-conn': { conn: 4, burst: 0, default_conn_delay: 1, key: 'remote_addr' } })
      let refused = 0
      const counting = async () => {
        const status = await ask('/held')
        if (status === 503) refused++
        return status
      }
      const all = Promise.all(Array.from({ length: 20 }, counting))
      await until(() => upstream.received.length === here + 4, 'four have passed')
      await until(() => refused === 16, 'all others are refused')
      await until(async () => tickets(await page(), 'slots', 'live') === 4, 'four are held')
      upstream.script = received => received.json(200, {})
      for (const received of upstream.received.slice(here)) received.json(200, {})
      assert.equal(passed(await all), 4)
      await until(async () => tickets(await page(), 'slots', 'live') === 0, 'they are given back')
      assert.equal(await ask('/held'), 200)
    })

    it('go on where they were when the workers are replaced', async () => {
      await put('/kept', { 'limit-count': { count: 3, time_window: 3_600 } })
      assert.equal(passed(await many(2, '/kept')), 2)
      const replaced = async () =>
        Number(/^sluice_worker_replacements_total\{reason="planned",plugin=""\} (\d+)/m.exec(await page())?.[1] ?? 0)
      const before = await replaced()
      gateway.child.kill('SIGHUP')
      await until(async () => (await replaced()) === before + workers, 'the workers are new')
      assert.deepEqual((await many(2, '/kept')).sort(), [200, 503])
    })

    it('are freed of what a worker held that died', async () => {
      await put('/crashing', {
        'limit-conn': { conn: 1, burst: 0, default_conn_delay: 1, key: 'remote_addr' },
        crash: {},
      })
      assert.equal(await ask('/crashing', { crash: 'now' }), undefined)
      await until(async () => (await ask('/crashing')) === 200, 'its place is free')
      const text = await page()
      assert.equal(tickets(text, 'slots', 'lapsed'), 1)
      const ended = ['settled', 'released', 'lapsed', 'live'].reduce(
        (sum, state) => sum + tickets(text, 'slots', state),
        0,
      )
      assert.equal(tickets(text, 'slots', 'opened'), ended)
      // Each number is read at its own moment, and a worker's first of a kind is known when its word has come.
      const balanced = async () => {
        const now = await page()
        const holds = (what: string) =>
          Number(new RegExp(`^sluice_holds_${what}\\{kind="limit-conn"\\} (\\d+)`, 'm').exec(now)?.[1] ?? 0)
        return holds('opened_total') === holds('settled_total') + holds('released_total') + holds('live')
      }
      await until(balanced, 'the books of holds balance')
    })
  })
}
