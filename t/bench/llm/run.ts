// `npm run bench -- llm`: what the layers for LLMs add to an event of a stream, in every protocol; measures no HTTP.
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { machine, table } from '../report.ts'
import { eventCosts } from './event-cost.ts'

export const USAGE = `npm run bench -- llm [options]
  --json FILE         the numbers as JSON`

export async function benchLlm(args: string[]): Promise<void> {
  const { values } = parseArgs({ args, options: { json: { type: 'string' }, help: { type: 'boolean', short: 'h' } } })
  if (values.help) {
    process.stdout.write(`${USAGE}\n`)
    return
  }
  const on = machine('one thread, when nothing interrupts it')
  const events = eventCosts()
  const rows = [...new Set(events.map(({ what }) => what))].map(what => [
    what,
    ...events.filter(event => event.what === what).map(({ nanos }) => nanos.toFixed(0)),
  ])
  const reads = [...new Set(events.map(({ perRead }) => `ns, ${perRead} a read`))]
  process.stdout.write(`
${on.cores} cores (${on.model}), ${on.system}, Node ${on.node}; ${on.pinning}

An event between the two sockets, without either
${table(['', ...reads], rows)}
`)
  if (values.json !== undefined)
    writeFileSync(values.json, `${JSON.stringify({ machine: on, events }, undefined, 2)}\n`)
}
