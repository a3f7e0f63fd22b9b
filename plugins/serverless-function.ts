// serverless-pre-function and serverless-post-function: functions of the config run first or last in a phase (facts core 8.3.23).
import type { Context } from '../core/context.ts'
import { ConfigFunction, type FunctionPhase, PHASES } from '../core/javascript/config-function.ts'
import { sourceProblem } from '../core/javascript/source.ts'
import { type Env, type Hooks, type Infer, type Plugin, plugin } from '../core/plugin.ts'
import type { Filter, Reply } from '../core/reply.ts'

const schema = {
  type: 'object',
  properties: {
    functions: { type: 'array', minItems: 1, items: { type: 'string' } },
    phase: { type: 'string', enum: PHASES, default: 'access' },
  },
  required: ['functions'],
} as const

type Config = Infer<typeof schema>

const EXAMPLE = '(conf, ctx) => ({ status: 403, body: "no" })'
const nothing = Buffer.alloc(0)

function check({ functions }: Config): string | undefined {
  for (const [at, source] of functions.entries()) {
    const problem = sourceProblem(source, EXAMPLE)
    if (problem !== undefined) return `functions[${at}] ${problem}`
  }
  return undefined
}

function setup(config: Config, { sandbox, log, owner }: Env): Hooks {
  if (sandbox === undefined) throw new Error('JavaScript in configs is off (sluice.javascript)')
  const phase: FunctionPhase = config.phase
  const env = { sandbox, log, place: { owner, phase } }
  const functions = config.functions.map(source => new ConfigFunction(source, env))
  /** In order, until one answers. */
  const run = async (ctx: Context): Promise<Reply | void> => {
    for (const each of functions) {
      const answer = await each.run(ctx, phase, config)
      if (answer !== undefined) return answer
    }
  }
  if (phase === 'body_filter') return { body_filter: (ctx, answer) => editing(ctx, answer, { functions, config }) }
  return phase === 'header_filter' || phase === 'log'
    ? { [phase]: async (ctx: Context) => void (await run(ctx)) }
    : { [phase]: run }
}

/** Functions get text: what is cut within a character waits for its rest, and what they do not change stays as it is. */
function editing(
  ctx: Context,
  answer: Reply,
  { functions, config }: { functions: readonly ConfigFunction[]; config: Config },
): Filter | void {
  if (answer.headers.has('content-encoding')) return undefined
  let held: Buffer = nothing
  return async (piece, last) => {
    const bytes = held.length === 0 ? piece : Buffer.concat([held, piece])
    const end = last ? bytes.length : wholeCharacters(bytes)
    held = bytes.subarray(end)
    let out = bytes.subarray(0, end)
    for (const each of functions) {
      const edited = await each.edit(ctx, config, { text: out.toString('utf8'), last })
      if (edited !== undefined) out = Buffer.from(edited)
    }
    return out
  }
}

/** Where the last character of UTF-8 ends that is whole. */
function wholeCharacters(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back]!
    if (byte < 0x80) break
    // A character's first byte says how many there are.
    if (byte >= 0xc0) return back < (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) ? bytes.length - back : bytes.length
  }
  return bytes.length
}

const made = (name: string, priority: number): Plugin => plugin({ name, priority, version: 0.1, schema, check, setup })

export const serverlessPreFunction = made('serverless-pre-function', 10_000)
export const serverlessPostFunction = made('serverless-post-function', -2_000)
