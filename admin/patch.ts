// How a PATCH changes a value (facts core 4.6); knows no resource. What it is given it does not change.
import { isObject } from '../core/schema.ts'

type Json = Record<string, unknown>

/** Objects are merged member by member, `null` deletes, everything else replaces. */
export function merged(value: Json, patch: Json): Json {
  const result = new Map(Object.entries(value))
  for (const [key, change] of Object.entries(patch)) {
    const own = result.get(key)
    if (change === null) result.delete(key)
    else result.set(key, isObject(own) && isObject(change) ? merged(own, change) : change)
  }
  return Object.fromEntries(result)
}

/** The path leads through something that is not an object; `at` is the part of it up to there. */
export class NoSuchPath extends Error {
  readonly at: string

  constructor(path: readonly string[]) {
    super('invalid sub-path')
    this.at = `/${path.join('/')}`
  }
}

/**
 * Puts `part` at `path`; objects that are missing on the way are made. A path that ends in an empty name means the whole
 * value. Throws NoSuchPath.
 */
export function replaced(value: Json, path: readonly string[], part: unknown): unknown {
  return path.at(-1) === '' ? part : put(value, path, { part, walked: [] })
}

function put(value: Json, path: readonly string[], at: { part: unknown; walked: readonly string[] }): Json {
  const [step = '', ...rest] = path
  const members = new Map(Object.entries(value))
  if (rest.length === 0) return Object.fromEntries(members.set(step, at.part))
  const inner = members.get(step) ?? {}
  const walked = [...at.walked, step]
  if (!isObject(inner)) throw new NoSuchPath(walked)
  return Object.fromEntries(members.set(step, put(inner, rest, { part: at.part, walked })))
}
