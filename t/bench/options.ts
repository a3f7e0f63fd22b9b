// What a bench run is asked to do: the command line, and how much of everything that means.
import { parseArgs } from 'node:util'
import type { MemoryAmounts } from './memory-phase.ts'
import type { StreamAmounts } from './stream-phase.ts'
import type { UnaryAmounts } from './unary-phase.ts'

export interface Options {
  amounts: Amounts
  /** Another gateway to put beside. */
  against: { url: string; pid: number | undefined } | undefined
  /** Where the mock listens; 0 is any free port. */
  mockPort: number
  /** Where the numbers go as JSON. */
  json: string | undefined
}

export interface Amounts {
  /** How often the contenders are started, each time to be measured anew. */
  starts: number
  unary: UnaryAmounts
  streams: StreamAmounts
  memory: MemoryAmounts
}

export const USAGE = `npm run bench -- routes: what routing costs, see npm run bench -- routes --help
npm run bench -- proxy: what a route without plugins costs, see npm run bench -- proxy --help
npm run bench -- llm: what an event of an LLM's stream costs, see npm run bench -- llm --help
npm run bench -- [options]
  --quick             about half a minute: does it work, not how fast is it
  --full              a million requests for the memory slope
  --json FILE         the numbers as JSON
  --against URL       put another gateway beside: the same load goes to URL, whose upstream is the mock (see --mock-port)
  --against-pid PID   its process, with all descendants: without it nobody knows what it costs
  --mock-port PORT    where the mock LLM listens (otherwise any free port): unary and streamed answers to POST on any path`

const quick: Amounts = {
  starts: 1,
  unary: { warmUp: 3, rounds: 5, requests: 3_000, singleRounds: 3, singleRequests: 300 },
  streams: { warmUp: 0, rounds: 2 },
  memory: { openStreams: 500, repetitions: 1, requests: 10_000, sample: 1_000 },
}

const usual: Amounts = {
  starts: 3,
  // V8 goes on compiling for the first 60,000 requests, and that is on the bill too (seen: 80 us a request at 40,000, 60 then).
  unary: { warmUp: 12, rounds: 10, requests: 5_000, singleRounds: 8, singleRequests: 500 },
  streams: { warmUp: 1, rounds: 4 },
  memory: { openStreams: 2_000, repetitions: 3, requests: 100_000, sample: 5_000 },
}

const full: Amounts = { ...usual, memory: { ...usual.memory, requests: 1_000_000, sample: 10_000 } }

/** Throws what is wrong with the arguments; undefined when only help was asked for. */
export function parseOptions(args: string[]): Options | undefined {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: 'boolean', default: false },
      full: { type: 'boolean', default: false },
      json: { type: 'string' },
      against: { type: 'string' },
      'against-pid': { type: 'string' },
      'mock-port': { type: 'string', default: '0' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) return undefined
  const pid = values['against-pid']
  if (pid !== undefined && values.against === undefined) throw new Error('--against-pid needs --against')
  if (values.against !== undefined && !/^http:\/\//.test(values.against)) throw new Error('--against takes an http URL')
  return {
    amounts: values.quick ? quick : values.full ? full : usual,
    against:
      values.against === undefined
        ? undefined
        : { url: values.against, pid: pid === undefined ? undefined : integer(pid, '--against-pid') },
    mockPort: integer(values['mock-port'], '--mock-port'),
    json: values.json,
  }
}

function integer(text: string, option: string): number {
  if (!/^\d+$/.test(text)) throw new Error(`${option} takes a number`)
  return Number(text)
}
