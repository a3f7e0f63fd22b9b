// `npm run bench -- routes`: what finding routes, changing them and keeping them costs, from 10 to 100,000; measures no HTTP.
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { machine, table } from '../report.ts'
import { type EditCost, editCost } from './edit-cost.ts'
import { type IndexCost, indexCost, type SpecialCost, specialCosts } from './index-cost.ts'

export const USAGE = `npm run bench -- routes [options]
  --json FILE         the numbers as JSON`

const SIZES = [10, 1_000, 10_000, 100_000]

export async function benchRoutes(args: string[]): Promise<void> {
  const { values } = parseArgs({ args, options: { json: { type: 'string' }, help: { type: 'boolean', short: 'h' } } })
  if (values.help) {
    process.stdout.write(`${USAGE}\n`)
    return
  }
  const index: IndexCost[] = []
  const edits: EditCost[] = []
  for (const size of SIZES) {
    process.stderr.write(`bench: ${size} routes\n`)
    index.push(indexCost(size))
    edits.push(await editCost(size))
  }
  const special = specialCosts()
  const report = { machine: machine('one thread, when nothing interrupts it'), index, special, edits }
  process.stdout.write(`\n${printed(report)}\n`)
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, undefined, 2)}\n`)
}

interface RoutesReport {
  readonly machine: ReturnType<typeof machine>
  readonly index: readonly IndexCost[]
  readonly special: readonly SpecialCost[]
  readonly edits: readonly EditCost[]
}

function printed({ machine: on, index, special, edits }: RoutesReport): string {
  return [
    `${on.cores} cores (${on.model}), ${on.system}, Node ${on.node}; ${on.pinning}`,
    '',
    'The index alone, over distinct paths: exact, prefix, a star in the middle, a third each',
    table(
      ['routes', 'ns/match', 'us/insert', 'us/delete', 'bytes/route', 'ms/build'],
      index.map(row => [
        String(row.routes),
        row.matchNanos.toFixed(0),
        row.insertMicros.toFixed(2),
        row.deleteMicros.toFixed(2),
        row.bytesPerRoute.toFixed(0),
        row.buildMillis.toFixed(0),
      ]),
    ),
    '',
    table(
      ['', 'ns/match'],
      special.map(row => [row.what, row.matchNanos.toFixed(0)]),
    ),
    '',
    'A whole configuration in a worker: routes of 1 KB, elapsed time with whatever else the machine did',
    table(
      ['routes', 'ms/load', 'longest stand ms', 'heap bytes/route', 'edit p50 ms', 'edit p99 ms'],
      edits.map(row => [
        String(row.routes),
        row.loadMillis.toFixed(0),
        row.longestStandMillis.toFixed(1),
        row.bytesPerRoute.toFixed(0),
        row.effectMillis.p50.toFixed(3),
        row.effectMillis.p99.toFixed(3),
      ]),
    ),
  ].join('\n')
}
