// Whether a value is a plugin: what a file of the user's exports is checked before anything relies on it; runs nothing of it.

import type { Plugin } from '../plugin.ts'
import { isObject, validator } from '../schema.ts'

const isText = (value: unknown) => typeof value === 'string'
const isFunction = (value: unknown) => typeof value === 'function'
const isPaths = (value: unknown) => Array.isArray(value) && value.every(isText)

interface Rule {
  fits(value: unknown): boolean
  expected: string
  required?: true
}

const isEndpoint = (value: unknown) =>
  isObject(value) &&
  isPaths(value.methods) &&
  isText(value.path) &&
  (value.path as string).startsWith('/') &&
  isFunction(value.answer)
const endpoints: Rule = {
  fits: value => Array.isArray(value) && value.every(isEndpoint),
  expected: 'a list of { methods, path, answer }',
}
const schema: Rule = { fits: isObject, expected: 'a JSON Schema' }
const paths: Rule = { fits: isPaths, expected: 'a list of paths' }
const code: Rule = { fits: isFunction, expected: 'a function' }

const rules: Readonly<Record<keyof Plugin, Rule>> = {
  // It becomes a key of configs, a label of metrics and a segment of URLs.
  name: {
    fits: value => isText(value) && /^[a-zA-Z0-9][\w.-]{0,99}$/.test(value as string),
    expected: 'letters, digits and - _ . of which the first is no sign',
    required: true,
  },
  priority: { fits: Number.isFinite, expected: 'a number', required: true },
  version: { fits: Number.isFinite, expected: 'a number', required: true },
  type: { fits: value => value === 'auth', expected: 'auth, or nothing' },
  runPolicy: { fits: value => value === 'prefer_route', expected: 'prefer_route, or nothing' },
  schema: { ...schema, required: true },
  consumer: schema,
  metadata: schema,
  orMetadata: paths,
  credential: code,
  carriers: code,
  encrypt: paths,
  inert: paths,
  endpoints,
  check: code,
  checkMetadata: code,
  setup: { ...code, required: true },
}

/** What is wrong with what a file exports as default, in a few words; undefined when it is a plugin. */
export function pluginFault(value: unknown): string | undefined {
  if (!isObject(value)) {
    return 'has no plugin as its default export; what plugins share belongs into a folder below this one'
  }
  for (const [key, { fits, expected, required }] of Object.entries(rules)) {
    if (value[key] === undefined ? required : !fits(value[key])) return `its ${key} is not ${expected}`
  }
  const stranger = Object.keys(value).find(key => !Object.hasOwn(rules, key))
  if (stranger !== undefined) return `a plugin has no attribute ${stranger}`
  for (const key of ['schema', 'consumer', 'metadata'] as const) {
    const fault = value[key] === undefined ? undefined : schemaFault(value[key] as Plugin['schema'])
    if (fault !== undefined) return `its ${key} is not usable: ${fault}`
  }
  if (value.type === 'auth' && (value.consumer === undefined) !== (value.credential === undefined)) {
    return 'consumer and credential belong together'
  }
  return undefined
}

function schemaFault(written: Plugin['schema']): string | undefined {
  try {
    // It is shown as JSON, and posted to other threads.
    validator(JSON.parse(JSON.stringify(written)) as Plugin['schema'])
    structuredClone(written)
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}
