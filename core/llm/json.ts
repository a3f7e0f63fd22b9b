// JSON values as bodies of LLM calls: merged and written down; knows no protocol.
import { isObject } from '../schema.ts'

/** A parsed JSON object. Whoever wants to change it makes another. */
export type JsonObject = Readonly<Record<string, unknown>>

export { isObject }

/** An object or an array, which is what facts ai-plugins call a table. */
export function isTable(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

/** Compact JSON with the keys of every object in order, so that equal bodies are equal bytes (prompt caches). */
export function sortedJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(sortedJson).join(',')}]`
  if (!isObject(value)) return JSON.stringify(value)
  const members = Object.keys(value)
    .sort()
    .map(key => `${JSON.stringify(key)}:${sortedJson(value[key])}`)
  return `{${members.join(',')}}`
}

/**
 * `patch` laid into `target` (facts ai-plugins 3.2): objects are merged member by member; anything else is written where
 * `target` has no such member, or everywhere when `force` says so. An explicit null is a member. Changes neither.
 */
export function deepMerge(target: JsonObject, patch: JsonObject, force: boolean): JsonObject {
  const merged = new Map(Object.entries(target))
  for (const [key, value] of Object.entries(patch)) {
    const own = merged.get(key)
    if (isObject(own) && isObject(value)) merged.set(key, deepMerge(own, value, force))
    else if (force || !merged.has(key)) merged.set(key, value)
  }
  return Object.fromEntries(merged)
}

/** What JSON.parse can read may still be nested too deep for a function that calls itself: then this throws `tooDeep()`. */
export function shallow<T>(work: () => T, tooDeep: () => Error): T {
  try {
    return work()
  } catch (error) {
    throw error instanceof RangeError ? tooDeep() : error
  }
}

/**
 * Throws RangeError for what is nested too deep. JSON.stringify writes it all the same, and takes 8 s for an object of 5
 * million levels (Node 26).
 */
export function walk(value: unknown): void {
  if (isTable(value)) for (const member of Object.values(value)) walk(member)
}

// Nobody's tools nest deeper; JSON.stringify takes 8 s for five million levels.
const MAX_DEPTH = 200

/** Whether a value is nested no deeper than anybody's is who means it. */
export function isShallow(value: unknown, levels = MAX_DEPTH): boolean {
  if (!isTable(value)) return true
  return levels > 0 && Object.values(value).every(member => isShallow(member, levels - 1))
}
