// Changes to header fields as plugins configure them: add, set, remove; knows no request, only variables by name.
import { fieldValue, isFieldName } from './field-value.ts'
import type { HeaderList } from './reply.ts'
import { compileTemplate, resolveTemplate, type Template } from './router/template.ts'

/** Fields to add, then to set, then to remove. Values are templates; several values are several fields. */
export interface HeaderChange {
  readonly add: readonly (readonly [name: string, values: readonly Template[]])[]
  readonly set: readonly (readonly [name: string, values: readonly Template[]])[]
  readonly remove: readonly string[]
}

type Value = string | number
type Values = Readonly<Record<string, Value | readonly Value[]>>

/** The two ways to write changes down: `{ add, set, remove }`, or a flat map of what to set. */
export interface HeaderConfig {
  readonly add?: Values | readonly string[]
  readonly set?: Values
  readonly remove?: readonly string[]
}

/** Reads either form. `add` may be a map or a list of `Name: value`. */
export function compileHeaderChange(config: Readonly<Record<string, unknown>> | undefined): HeaderChange {
  if (config === undefined) return { add: [], set: [], remove: [] }
  // The schema has told the two forms apart already; a header may be called `set`, but is no object then.
  const known = isNewForm(config) ? (config as HeaderConfig) : { set: config as Values }
  return { add: pairs(known.add), set: pairs(known.set), remove: known.remove ?? [] }
}

/** Adds, sets, removes, in that order (facts core 8.3.9, 8.3.10). A variable without a value is empty. */
export function applyHeaderChange(headers: HeaderList, change: HeaderChange, get: (name: string) => unknown): void {
  const value = (template: Template): string => fieldValue(resolveTemplate(template, get).text)
  for (const [name, values] of change.add) for (const each of values) headers.append(name, value(each))
  for (const [name, [first, ...more]] of change.set) {
    if (first === undefined) continue
    headers.set(name, value(first))
    for (const each of more) headers.append(name, value(each))
  }
  for (const name of change.remove) headers.delete(name)
}

/** The first name that cannot be a field's, or is one of `forbidden` (lower case) and would be written. */
export function badFieldName(change: HeaderChange, forbidden: ReadonlySet<string> = new Set()): string | undefined {
  const written = [...change.add, ...change.set].map(([name]) => name)
  const bad = [...written, ...change.remove].find(name => !isFieldName(name))
  return bad ?? written.find(name => forbidden.has(name.toLowerCase()))
}

function isNewForm(config: Readonly<Record<string, unknown>>): boolean {
  return [config.add, config.set, config.remove].some(part => typeof part === 'object' && part !== null)
}

function pairs(values: Values | readonly string[] | undefined): HeaderChange['set'] {
  if (values === undefined) return []
  const entries: readonly (readonly [string, Value | readonly Value[]])[] = isList(values)
    ? values.map(line => split(line))
    : Object.entries(values)
  return entries.map(([name, value]) => [name, [value].flat().map(each => compileTemplate(String(each)))] as const)
}

function isList(values: Values | readonly string[]): values is readonly string[] {
  return Array.isArray(values)
}

function split(line: string): [string, string] {
  const colon = line.indexOf(':')
  return [line.slice(0, colon).trim(), line.slice(colon + 1).trim()]
}
