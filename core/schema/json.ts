// What a parsed JSON value is, and what JSON from outside must not be; knows no schema.

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Array.isArray, for lists that are readonly. */
export function isList<T>(value: unknown): value is readonly T[] {
  return Array.isArray(value)
}

/** A deep copy of a parsed JSON value; every snapshot copies every item, and structuredClone took half of its time. */
export function copied<T>(value: T): T {
  if (Array.isArray(value)) return value.map(copied) as T
  if (!isObject(value)) return value
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, copied(inner)])) as T
}

const deepest = 100

/** Why a value is not worked with: so deep that recursion ends in a crash, or a trap for prototypes. */
export function shapeProblem(value: unknown, depth = 0): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  if (depth === deepest) return `nested deeper than ${deepest} levels`
  for (const key in value) {
    if (key === '__proto__') return 'the name __proto__ is not allowed'
    const problem = shapeProblem((value as Record<string, unknown>)[key], depth + 1)
    if (problem !== undefined) return problem
  }
  return undefined
}
