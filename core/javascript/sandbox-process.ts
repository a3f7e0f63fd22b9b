// The process in which functions of configs run, one call after the other: a line of JSON in, a line out; knows no request.
import { type Context, constants, createContext, Script } from 'node:vm'
import { type Inside, type Outcome, prelude } from './prelude.ts'
import { wrapped } from './source.ts'

/** One call: the text of a function, and its arguments as JSON. */
export type Call = readonly [source: string, args: string]

/** A context takes some 200 KB and 0.7 ms. What a function keeps outside of itself is lost when its context is. */
const MAX_CONTEXTS = 64
const MAX_ANSWER = 1024 * 1024

const timeout = Number(process.argv[2])
const begin = new Script(`(${prelude})()`)
const call = new Script('sluiceCall(sluiceArgs)')
const contexts = new Map<string, { context: Context; inside: Inside }>()

// What a failing import() rejects with is made out here, and its constructor's constructor would make code of texts out here.
for (const one of [() => {}, async () => {}, function* () {}, async function* () {}]) {
  Reflect.deleteProperty(Object.getPrototypeOf(one) as object, 'constructor')
}
// What a function leaves behind unhandled is nobody's.
process.on('unhandledRejection', () => {})
let rest = ''
process.stdin.setEncoding('utf8')
process.stdin.on('data', (piece: string) => {
  const lines = `${rest}${piece}`.split('\n')
  rest = lines.pop() ?? ''
  for (const line of lines) process.stdout.write(`${answered(JSON.parse(line) as Call)}\n`)
})

/** The outcome as JSON; no text of a function's own ever gets here but in it. */
function answered([source, args]: Call): string {
  try {
    const { context, inside } = contextOf(source)
    context.sluiceArgs = args
    // What it leaves to be done at once (microtasks) is part of it.
    call.runInContext(context, { timeout })
    const outcome: unknown = inside.outcome()
    if (typeof outcome !== 'string') throw new Error('it has damaged its own context')
    if (outcome.length > MAX_ANSWER) throw new Error(`its answer is larger than ${MAX_ANSWER} characters`)
    return outcome
  } catch (error) {
    contexts.delete(source)
    const tooLong = (error as NodeJS.ErrnoException | null)?.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT'
    const failed = tooLong ? `it took longer than ${timeout} ms` : String((error as Error | null)?.message)
    return JSON.stringify({ failed } satisfies Outcome)
  }
}

/** Each function has a context of its own, so that none sees what another leaves behind. */
function contextOf(source: string): { context: Context; inside: Inside } {
  const known = contexts.get(source)
  if (known !== undefined) {
    contexts.delete(source)
    contexts.set(source, known)
    return known
  }
  const context = createContext(constants.DONT_CONTEXTIFY, {
    codeGeneration: { strings: false, wasm: false },
    microtaskMode: 'afterEvaluate',
  })
  const inside = begin.runInContext(context) as Inside
  inside.bind(new Script(wrapped(source), { filename: 'function' }).runInContext(context, { timeout }))
  context.sluiceCall = inside.call
  const made = { context, inside }
  contexts.set(source, made)
  if (contexts.size > MAX_CONTEXTS) contexts.delete(contexts.keys().next().value!)
  return made
}
