// The text of a document as plain values, with the line of each entry and the environment filled in; knows no resource.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { type Environment, substitute } from '../config/source.ts'
import { ConfigError } from '../config.ts'
import { asError } from '../errors.ts'
import { isObject } from '../schema.ts'
import { entryLines, faultLine } from './json-lines.ts'
import type { Parsed, Task } from './yaml-thread.ts'

export interface ParsedText {
  value: unknown
  /** `name:line: routes[3]`, of the entry or of the nearest thing above it. */
  where(collection: string, index?: number): string
}

/** A document of tens of megabytes fits. */
const heapMb = 2_048

/**
 * YAML, parsed in a thread of its own: ten thousand routes take seconds. With `env`, `${{VAR}}` is filled into the text
 * before (facts core 5.2). Throws ConfigError with name and line of the first thing that is wrong.
 */
export async function parseYaml(name: string, text: string, env?: Environment): Promise<ParsedText> {
  const parsed = await inThread<Parsed>({ name, text: env === undefined ? text : filledIn(name, text, env) }).catch(
    error => ({ error: `${name}: ${asError(error).message}` }),
  )
  if ('error' in parsed) throw new ConfigError(parsed.error)
  return parsedText(name, parsed.value, parsed.lines)
}

/** The text of a value in YAML. */
export function printYaml(value: unknown): Promise<string> {
  return inThread<string>({ value })
}

async function inThread<T>(task: Task): Promise<T> {
  const worker = new Worker(new URL('yaml-thread.ts', import.meta.url), {
    workerData: task,
    resourceLimits: { maxOldGenerationSizeMb: heapMb },
  })
  try {
    // `once` rejects with the thread's error: out of memory.
    const [result] = (await once(worker, 'message')) as [T]
    return result
  } finally {
    await worker.terminate()
  }
}

/** JSON; with `env`, `${{VAR}}` is filled into its strings (facts core 5.2). Throws ConfigError. */
export function parseJson(name: string, text: string, env?: Environment): ParsedText {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new ConfigError(`${name}:${faultLine(text)}: is not JSON`)
  }
  const lines = entryLines(text)
  return parsedText(name, env === undefined ? value : filledInto(name, value, env), lines)
}

function parsedText(name: string, value: unknown, lines: ReadonlyMap<string, number>): ParsedText {
  return {
    value,
    where(collection, index) {
      const path = index === undefined ? collection : `${collection}[${index}]`
      const line = lines.get(path) ?? lines.get(collection)
      return `${name}${line === undefined ? '' : `:${line}`}: ${path}`
    },
  }
}

function filledIn(name: string, text: string, env: Environment): string {
  const fill = (line: string, at: number) =>
    substitute(line, env, message => {
      throw new ConfigError(`${name}:${at + 1}: ${message}`)
    }).text
  return text
    .split('\n')
    .map((line, at) => (line.includes('${{') ? fill(line, at) : line))
    .join('\n')
}

/** What was filled in becomes what it reads as: a number, a boolean or text. */
function filledInto(name: string, value: unknown, env: Environment): unknown {
  if (typeof value === 'string') {
    if (!value.includes('${{')) return value
    return substitute(value, env, message => {
      throw new ConfigError(`${name}: ${message}`)
    }).value
  }
  if (Array.isArray(value)) return value.map(inner => filledInto(name, inner, env))
  if (!isObject(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, filledInto(name, inner, env)]))
}
