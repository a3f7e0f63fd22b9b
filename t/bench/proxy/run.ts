// `npm run bench -- proxy`: what a route without plugins costs beside the floor: small requests, and large bodies both ways.
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { type Contender, FLOOR } from '../contender.ts'
import { pinOurselves } from '../cores.ts'
import type { Job, Transfer, Unary } from '../load/job.ts'
import { Peer } from '../peer.ts'
import { type Machine, machine, table } from '../report.ts'
import { type Cost, Rounds } from '../rounds.ts'
import { startSluice } from '../sluice.ts'
import { median } from '../statistics.ts'
import { targetOf } from '../workload.ts'

export const USAGE = `npm run bench -- proxy [options]
  --quick             a few seconds: does it work, not how fast is it
  --json FILE         the numbers as JSON`

const CONCURRENCY = 64
const SMALL = { get: 'GET 1 KB', post: 'POST 16 KB' } as const
const LARGE = { down: 'download', up: 'upload' } as const
const LARGE_CONCURRENCY = 4
const SLICE_MS = 60_000

type Small = keyof typeof SMALL
type Direction = keyof typeof LARGE

interface Amounts {
  starts: number
  warmUp: number
  rounds: number
  requests: number
  /** Of one large body. */
  bytes: number
}

const quick: Amounts = { starts: 1, warmUp: 1, rounds: 2, requests: 1_000, bytes: 16 << 20 }
const usual: Amounts = { starts: 3, warmUp: 8, rounds: 10, requests: 5_000, bytes: 128 << 20 }

/** Of one kind of work and one contender. */
interface Row {
  readonly work: string
  readonly name: string
  /** Per request, or per MB. */
  readonly cost: Cost | undefined
  /** Requests or MB per second: median of the rounds, and the median of the ratios to the floor's of the same round. */
  readonly rate: number
  readonly timesFloor: number
}

interface ProxyReport {
  readonly machine: Machine
  readonly rows: readonly Row[]
}

export async function benchProxy(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: { json: { type: 'string' }, quick: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
  })
  if (values.help) {
    process.stdout.write(`${USAGE}\n`)
    return
  }
  const report = await measured(values.quick ? quick : usual)
  process.stdout.write(`\n${printed(report)}\n`)
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, undefined, 2)}\n`)
}

async function measured(amounts: Amounts): Promise<ProxyReport> {
  const cores = pinOurselves()
  await using load = await Peer.start('load.ts', [], cores.others)
  await using small = await Peer.start('mock-upstream.ts', ['0'], cores.others)
  await using large = await Peer.start('proxy/large-upstream.ts', [], cores.others)
  const ask = <R>(job: Job) => load.ask<R>(job)
  const smallRounds = { get: new Rounds<Unary>(), post: new Rounds<Unary>() }
  const largeRounds = { down: new Rounds<Transfer>(), up: new Rounds<Transfer>() }

  for (let start = 1; start <= amounts.starts; start++) {
    process.stderr.write(`bench: start ${start} of ${amounts.starts}\n`)
    const { requests, bytes } = amounts
    {
      await using both = await contenders(small.port, [], cores.gateways)
      for (const kind of Object.keys(SMALL) as Small[]) {
        const work = {
          slice: ({ target }: Contender) =>
            ask<Unary>({ do: 'unary', kind, target, concurrency: CONCURRENCY, requests, within: SLICE_MS }),
        }
        await new Rounds<Unary>().run(both.contenders, amounts.warmUp, work)
        await smallRounds[kind].run(both.contenders, amounts.rounds, work)
      }
    }
    await using both = await contenders(large.port, ['streams'], cores.gateways)
    for (const direction of Object.keys(LARGE) as Direction[]) {
      const job = { do: 'transfer', direction, bytes, concurrency: LARGE_CONCURRENCY, within: SLICE_MS } as const
      const work = { slice: ({ target }: Contender) => ask<Transfer>({ ...job, target }) }
      await new Rounds<Transfer>().run(both.contenders, 1, work)
      await largeRounds[direction].run(both.contenders, Math.ceil(amounts.rounds / 2), work)
    }
    await ask({ do: 'close' })
  }
  const perSecond = ({ requests, seconds }: Unary) => requests / seconds
  const megabytes = ({ bytes }: Transfer) => bytes / 1e6
  const rows = [
    ...(Object.keys(SMALL) as Small[]).flatMap(kind =>
      rowsOf(SMALL[kind], smallRounds[kind], { units: slice => slice.requests, rate: perSecond }),
    ),
    ...(Object.keys(LARGE) as Direction[]).flatMap(direction =>
      rowsOf(LARGE[direction], largeRounds[direction], {
        units: megabytes,
        rate: slice => megabytes(slice) / slice.seconds,
      }),
    ),
  ]
  return { machine: machine(cores.said), rows }
}

/** The floor and Sluice's plain route, started in front of that upstream. */
async function contenders(port: number, floorMode: string[], cores: string | undefined) {
  await using started = new AsyncDisposableStack()
  const floor = started.use(await Peer.start('floor.ts', [`http://127.0.0.1:${port}`, ...floorMode], cores))
  const sluice = started.use(await startSluice(port, cores))
  const plain = sluice.contenders[0]!
  const target = { ...targetOf(`http://127.0.0.1:${floor.port}/`), path: plain.target.path }
  const kept = started.move()
  return {
    contenders: [{ name: FLOOR, target, pid: floor.pid }, plain],
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  }
}

function rowsOf<R>(
  work: string,
  rounds: Rounds<R>,
  { units, rate }: { units: (slice: R) => number; rate: (slice: R) => number },
): Row[] {
  const floor = rounds.all(FLOOR, rate)
  return rounds.names.map(name => {
    const own = rounds.all(name, rate)
    return {
      work,
      name,
      cost: rounds.cost(name, units),
      rate: median(own),
      timesFloor: median(own.map((value, round) => value / floor[round]!)),
    }
  })
}

function printed({ machine: on, rows }: ProxyReport): string {
  return [
    `${on.cores} cores (${on.model}), ${on.system}, Node ${on.node}; ${on.pinning}`,
    `Small: ${CONCURRENCY} at a time, CPU in us per request. Large: ${LARGE_CONCURRENCY} bodies at a time, CPU in us per MB.`,
    'CPU is that of the quietest fifth of the slices; "x" is times the floor\'s. Only ratios of one run can be compared.',
    '',
    table(
      ['', 'CPU us', 'x', 'by start', 'requests or MB/s', 'x'],
      rows.map(({ work, name, cost, rate, timesFloor }) => [
        `${work}, ${name}`,
        cost?.quiet.toFixed(1) ?? '',
        cost?.timesFloor.toFixed(2) ?? '',
        cost?.timesFloorByStart.map(times => times.toFixed(2)).join(' ') ?? '',
        rate.toFixed(0),
        timesFloor.toFixed(2),
      ]),
    ),
  ].join('\n')
}
