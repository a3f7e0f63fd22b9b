// What is spent of budgets survives the gateway, however it ends: real processes, killed where they stand.
import assert from 'node:assert/strict'
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { configFolder, type GatewayProcess, startProcess } from './helpers/process.ts'
import { until } from './helpers/until.ts'

/** A plugin that takes from a budget what the query says, as ai-budget does, and tells how it stands. */
const spender = `
import { spendKey } from '${new URL('../core/budgets/budget.ts', import.meta.url).pathname}'
import { plugin, reply } from 'sluice'

const budget = { name: 'team', unit: 'tokens', cap: 10000, overshoot: 0, window: { kind: 'balance' } }
const account = { budget, principal: 'consumer:jack', period: { start: 0, end: Infinity } }
const alerts = { thresholds: [1], webhook: undefined }

export default plugin({
  name: 'spender', priority: 1, version: 1, schema: { type: 'object' },
  setup: (_config, { ledger, accounts }) => ({
    access({ request }) {
      const amount = Number(request.search.replace('?', ''))
      if (request.path === '/die') process.exit(1)
      const taken = ledger.own.take(spendKey(account), { kind: 'balance', limit: budget.cap }, { amount, need: 0 })
      if (amount > 0) accounts.touched({ account, servers: undefined, alerts })
      return reply(200, String(taken.used))
    },
  }),
})
`

/** What the files say, read as after a crash: from a copy. */
function onDisk(folder: string): number | undefined {
  const copy = join(folder, 'copy')
  mkdirSync(copy, { recursive: true })
  for (const name of ['budgets.db', 'budgets.db-wal'])
    if (existsSync(join(folder, 'data', name))) copyFileSync(join(folder, 'data', name), join(copy, name))
  const db = new DatabaseSync(join(copy, 'budgets.db'))
  try {
    return db.prepare('select used from account').get()?.used as number | undefined
  } catch {
    // It was copied while it was being written.
    return undefined
  } finally {
    db.close()
    rmSync(copy, { recursive: true })
  }
}

describe('what is spent of budgets', function () {
  this.timeout(180_000)
  const started: GatewayProcess[] = []

  afterEach(async () => {
    for (const gateway of started.splice(0)) await gateway.dispose()
  })

  async function start(made: { folder: string; file: string }): Promise<GatewayProcess> {
    const gateway = await startProcess(made)
    started.push(gateway)
    return gateway
  }
  const ask = async (gateway: GatewayProcess, path: string) => {
    const answer = await fetch(gateway.urls.requests + path, { signal: AbortSignal.timeout(30_000) }).catch(
      () => undefined,
    )
    return answer === undefined ? undefined : Number(await answer.text())
  }

  it('is there after kill -9 within a second, after the death of a worker at once, and after an orderly end', async () => {
    const made = configFolder('', { nginx_config: 'worker_processes: 2' })
    const plugins = join(made.folder, 'plugins')
    mkdirSync(plugins)
    writeFileSync(join(plugins, 'spender.js'), spender)
    writeFileSync(made.file, `sluice: {plugin_dirs: [${plugins}]}\n`, { flag: 'a' })
    let gateway = await start(made)
    const { status } = await gateway.admin('PUT', '/routes/1', { uri: '/*', plugins: { spender: {} } })
    assert.equal(status, 201)
    await until(async () => (await ask(gateway, '/')) === 0, 'the route is served')
    for (let n = 1; n <= 10; n++) assert.equal(await ask(gateway, '/?7'), 7 * n)

    // The promise is a second.
    await until(() => onDisk(made.folder) === 70, 'all is on disk', 10_000)
    await gateway.stop('SIGKILL')
    gateway = await start(made)
    assert.equal(await ask(gateway, '/'), 70)

    assert.equal(await ask(gateway, '/?30'), 100)
    await ask(gateway, '/die')
    await until(async () => (await ask(gateway, '/')) !== undefined, 'somebody answers')
    assert.equal(await ask(gateway, '/?1'), 101)

    const account = '/budgets/team/consumer:jack'
    const shown = async () => {
      const { body } = await gateway.admin('GET', account)
      const { spent, topped_up, durable, changes } = body as Record<string, unknown> & { changes: { who: string }[] }
      return [spent, topped_up, durable, changes.map(({ who }) => who)]
    }
    assert.equal((await gateway.admin('POST', `${account}/top_up`, { amount: 5 })).status, 200)
    assert.deepEqual(await shown(), [101, 5, true, ['admin']])

    await gateway.stop()
    gateway = await start(made)
    assert.equal(await ask(gateway, '/'), 101)
    assert.deepEqual(await shown(), [101, 5, true, ['admin']])
    // At 100, of all workers and processes together.
    const log = readFileSync(join(made.folder, 'error.log'), 'utf8')
    assert.equal(log.split('a threshold of a budget is reached').length, 2)
  })
})
