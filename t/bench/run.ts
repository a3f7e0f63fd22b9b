// `npm run bench`: starts a mock LLM, the floor, Sluice and the load, measures them side by side, and ends them all.
import { writeFileSync } from 'node:fs'
import { asError } from '../../core/errors.ts'
import { type Contender, DIRECT, FLOOR, type Started } from './contender.ts'
import { pinOurselves } from './cores.ts'
import { benchLlm } from './llm/run.ts'
import type { Job } from './load/job.ts'
import { type MemoryResult, memoryPhase } from './memory-phase.ts'
import { type Options, parseOptions, USAGE } from './options.ts'
import { Peer } from './peer.ts'
import { benchProxy } from './proxy/run.ts'
import { machine, printed, type Report } from './report.ts'
import { benchRoutes } from './routes/run.ts'
import { startSluice } from './sluice.ts'
import { StreamPhase } from './stream-phase.ts'
import { UnaryPhase } from './unary-phase.ts'
import { targetOf } from './workload.ts'

const STOPPED = { SIGINT: 130, SIGTERM: 143 } as const
let stopped: keyof typeof STOPPED | undefined

try {
  const [section, ...rest] = process.argv.slice(2)
  const own = { routes: benchRoutes, proxy: benchProxy, llm: benchLlm }[section as string]
  const options = own === undefined ? parseOptions(process.argv.slice(2)) : undefined
  if (own !== undefined) await own(rest)
  else if (options === undefined) process.stdout.write(`${USAGE}\n`)
  else {
    const report = await bench(options)
    process.stdout.write(`\n${printed(report)}\n`)
    if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(report, undefined, 2)}\n`)
  }
} catch (error) {
  process.stderr.write(`bench: ${stopped ?? asError(error).message}\n`)
  process.exitCode = stopped === undefined ? 1 : STOPPED[stopped]
}

async function bench({ amounts, against, mockPort }: Options): Promise<Report> {
  const began = performance.now()
  const cores = pinOurselves()
  await using load = await Peer.start('load.ts', [], cores.others)
  // Without a load every phase fails, and with that everything that was started for it ends.
  for (const signal of Object.keys(STOPPED) as (keyof typeof STOPPED)[]) {
    process.once(signal, () => {
      stopped ??= signal
      void load[Symbol.asyncDispose]()
    })
  }
  await using mock = await Peer.start('mock-upstream.ts', [String(mockPort)], cores.others)
  const upstream = `http://127.0.0.1:${mock.port}`
  const floor = async (): Promise<Started> => {
    const peer = await Peer.start('floor.ts', [upstream], cores.gateways)
    const contender = { name: FLOOR, target: targetOf(`http://127.0.0.1:${peer.port}/`), pid: peer.pid }
    return { contenders: [contender], [Symbol.asyncDispose]: () => peer[Symbol.asyncDispose]() }
  }
  const sluice = () => startSluice(mock.port, cores.gateways)
  const direct: Contender = { name: DIRECT, target: targetOf(upstream), pid: undefined }
  const beside: Contender[] = []
  if (against !== undefined) {
    const { url, pid } = against
    say(`the upstream of ${url} must be ${upstream}`)
    beside.push({ name: new URL(url).host, target: targetOf(url), pid })
  }

  const unary = new UnaryPhase(load, amounts.unary)
  const streams = new StreamPhase(load, amounts.streams)
  for (let start = 1; start <= amounts.starts; start++) {
    await using theFloor = await floor()
    await using theSluice = await sluice()
    const contenders = [direct, ...theFloor.contenders, ...theSluice.contenders, ...beside]
    say(`start ${start} of ${amounts.starts}: whole answers`)
    await unary.run(contenders)
    say(`start ${start} of ${amounts.starts}: streams`)
    await streams.run(contenders)
    await load.ask({ do: 'close' } satisfies Job)
  }

  const memory: MemoryResult[] = []
  say('memory')
  for (const start of [floor, sluice]) {
    const result = await memoryPhase(load, start, amounts.memory)
    if (result !== undefined) memory.push(result)
  }
  return {
    machine: machine(cores.said),
    seconds: (performance.now() - began) / 1e3,
    unary: unary.results(),
    streams: streams.results(),
    memory,
  }
}

function say(what: string): void {
  process.stderr.write(`bench: ${what}\n`)
}
