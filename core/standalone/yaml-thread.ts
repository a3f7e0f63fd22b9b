// The thread that parses and prints YAML: text in, plain values and lines out, or the other way; knows no resource.
import { parentPort, workerData } from 'node:worker_threads'
import { stringify } from 'yaml'
import { parseSource } from '../config/source.ts'
import { asError } from '../errors.ts'
import { isObject } from '../schema.ts'

/** To parse a text that is called so in messages, or to print a value. */
export type Task = { name: string; text: string } | { value: unknown }

/** `lines` has those of collections and entries: `routes`, `routes[3]`. */
export type Parsed = { value: unknown; lines: Map<string, number> } | { error: string }

const maxAliases = 1_000

function parse({ name, text }: { name: string; text: string }): Parsed {
  try {
    const { value, where } = parseSource(name, text, { maxAliases })
    const lines = new Map<string, number>()
    const note = (path: string) => {
      const line = /^:(\d+):/.exec(where(path).slice(name.length))?.[1]
      if (line !== undefined) lines.set(path, Number(line))
    }
    for (const [collection, list] of Object.entries(isObject(value) ? value : {})) {
      note(collection)
      if (Array.isArray(list)) for (const index of list.keys()) note(`${collection}[${index}]`)
    }
    return { value, lines }
  } catch (error) {
    return { error: asError(error).message }
  }
}

const task = workerData as Task
parentPort?.postMessage('value' in task ? stringify(task.value) : parse(task))
