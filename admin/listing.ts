// What of a list a client asked for: filters and pages (facts core 4.7); knows items, not where they come from.
import { createContext, Script } from 'node:vm'
import { isObject } from '../core/schema.ts'
import type { Item } from '../core/store/store.ts'
import { Refused, refuse } from './answer.ts'

/** Query parameters as koa gives them; of a repeated one the first counts. */
export type Query = Readonly<Record<string, string | string[] | undefined>>

export function parameter(query: Query, name: string): string | undefined {
  return [query[name]].flat()[0]
}

/** The page that is asked for, of the items that pass every filter; `total` is how many pass. */
export function listed(items: readonly Item[], kind: string, query: Query): { total: number; items: readonly Item[] } {
  const passing = filtered(items, kind, query)
  return { total: passing.length, items: paged(passing, query) }
}

function filtered(items: readonly Item[], kind: string, query: Query): readonly Item[] {
  let passing = items
  const label = parameter(query, 'label')
  if (label !== undefined) {
    passing = passing.filter(({ value }) => isObject(value.labels) && Object.hasOwn(value.labels, label))
  }
  if (kind === 'routes' || kind === 'stream_routes') {
    const wanted = new URLSearchParams(parameter(query, 'filter') ?? '')
    for (const attribute of ['service_id', 'upstream_id']) {
      const id = wanted.get(attribute)
      if (id !== null) passing = passing.filter(({ value }) => asText(value[attribute]) === id)
    }
  }
  passing = searched(passing, parameter(query, 'name'), value => [value.name])
  return searched(passing, parameter(query, 'uri'), value => [value.uri, value.uris].flat())
}

function asText(id: unknown): string | undefined {
  return typeof id === 'string' || typeof id === 'number' ? String(id) : undefined
}

function searched(
  items: readonly Item[],
  pattern: string | undefined,
  texts: (value: Item['value']) => unknown[],
): readonly Item[] {
  if (pattern === undefined) return items
  const matches = search(
    pattern,
    items.map(({ value }) => texts(value).filter(text => typeof text === 'string')),
  )
  return items.filter((_, at) => matches[at])
}

const searchMs = 200

/** What is no pattern is looked for as it stands: a search box sends what has been typed so far. */
const script = new Script(`
  const { pattern, texts } = JSON.parse(task)
  let matches
  try {
    const regex = new RegExp(pattern, 'u')
    matches = text => regex.test(text)
  } catch {
    matches = text => text.includes(pattern)
  }
  JSON.stringify(texts.map(some => some.some(matches)))
`)

/** Runs in a context of its own only because that can be stopped: a pattern may backtrack for ever. */
function search(pattern: string, texts: readonly (readonly string[])[]): boolean[] {
  const sandbox = createContext({ task: JSON.stringify({ pattern, texts }) })
  try {
    return JSON.parse(script.runInContext(sandbox, { timeout: searchMs }) as string) as boolean[]
  } catch {
    throw refuse(400, `the search took longer than ${searchMs} ms`)
  }
}

/** Both parameters are needed to ask for a page; the whole list stays in key order. */
function paged(items: readonly Item[], query: Query): readonly Item[] {
  const [page, size] = ['page', 'page_size'].map(name => Number.parseInt(parameter(query, name) ?? '', 10))
  if (page === undefined || size === undefined || Number.isNaN(page) || Number.isNaN(size)) return items
  if (size < 10 || size > 500) throw new Refused(400, 'page_size must be between 10 and 500')
  const from = (Math.max(page, 1) - 1) * size
  return [...items].sort((a, b) => a.createRevision - b.createRevision).slice(from, from + size)
}
