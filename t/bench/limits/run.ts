// What a limit costs: CPU of a route that answers by itself, with each limit plugin and without; `node t/bench/limits/run.ts`.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { LedgerMemory, ledgerMemory } from '../../../core/ledger/ledger-memory.ts'
import { SharedLedger } from '../../../core/ledger/shared-ledger.ts'
import { plugin } from '../../../core/plugin.ts'
import { reply } from '../../../core/reply.ts'
import { startGateway } from '../../helpers/gateway.ts'

const ROUNDS = 9
const REQUESTS = 15_000
const TAKES = 500_000

const limits: Record<string, object> = {
  plain: {},
  'limit-count': { 'limit-count': { count: 1e9, time_window: 3_600 } },
  'limit-req': { 'limit-req': { rate: 1e9, burst: 1e9, key: 'remote_addr', nodelay: true } },
  'limit-conn': { 'limit-conn': { conn: 1e6, burst: 0, default_conn_delay: 1, key: 'remote_addr' } },
}

const answer = plugin({
  name: 'answer',
  priority: 1,
  version: 1,
  schema: { type: 'object' },
  setup: () => ({ access: () => reply(200, 'ok') }),
})

/** Microseconds of CPU for each of `count`. */
async function cost(count: number, run: () => Promise<unknown> | void): Promise<number> {
  const before = process.cpuUsage()
  await run()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / count
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!

const gateway = await startGateway({
  plugins: [answer],
  resources: {
    routes: Object.fromEntries(
      Object.entries(limits).map(([name, plugins]) => [name, { uri: `/${name}`, plugins: { answer: {}, ...plugins } }]),
    ),
  },
})
const client = fork(new URL('./client.ts', import.meta.url), [String(gateway.port)])
await once(client, 'message')
const ask = (path: string) =>
  cost(REQUESTS, async () => {
    client.send({ path, count: REQUESTS })
    await once(client, 'message')
  })
const seen = new Map<string, number[]>(Object.keys(limits).map(name => [name, []]))
for (const name of seen.keys()) await ask(`/${name}`)
for (let round = 0; round < ROUNDS; round++) {
  for (const [name, costs] of seen) costs.push(await ask(`/${name}`))
}
client.kill()
await gateway.close()

const ledger = new SharedLedger(new LedgerMemory(ledgerMemory(), 0), Date.now)
const keys = Array.from({ length: 1_000 }, (_, n) => `limit-count:route/1:0123456789abcdef:10.0.${n >> 8}.${n & 255}`)
const window = { kind: 'fixed_window', limit: 1e9, windowMs: 60_000 } as const
const each = (run: (key: string) => void) =>
  cost(TAKES, () => {
    for (let n = 0; n < TAKES; n++) run(keys[n % keys.length]!)
  })
const take = () => each(key => ledger.take(key, window, { amount: 1 }))
const reserve = () => each(key => ledger.take(key, window, { amount: 9, ticket: true }).ticket!.settle(5))
await take()
await reserve()

const plain = seen.get('plain')!
for (const [name, costs] of seen) {
  const more = median(costs.map((value, at) => value - plain[at]!))
  process.stdout.write(`${name}: ${median(costs).toFixed(2)} us, ${more.toFixed(2)} more than plain\n`)
}
process.stdout.write(`take: ${(await take()).toFixed(2)} us, take and settle: ${(await reserve()).toFixed(2)} us\n`)
