// What a secret reference says (facts core 3.10): where a secret is kept, and which part of it is meant; gets none of them.
import { copied, isObject } from '../schema/json.ts'
import { isReference } from '../schema.ts'

/** `$env://NAME/key`: a variable of the environment, or a member of the JSON in it. */
export interface OfEnvironment {
  readonly variable: string
  readonly member: string | undefined
}

/** `$secret://vault/1/path/field`: a field of what a manager keeps at a path. `manager` is the id of a secret: `vault/1`. */
export interface OfManager {
  readonly manager: string
  readonly path: string
  readonly field: string
}

/** Undefined for what can refer to nothing. */
export function parseReference(text: string): OfEnvironment | OfManager | undefined {
  const [scheme = '', rest = ''] = text.split('://', 2)
  const [first = '', ...others] = rest.split('/')
  if (scheme.toLowerCase() === '$env') {
    return first === '' ? undefined : { variable: first, member: others.length === 0 ? undefined : others.join('/') }
  }
  const [id = '', ...steps] = others
  const field = steps.pop() ?? ''
  // Steps upwards would lead out of the prefix that the manager is confined to.
  const astray = [first, id, field, ...steps].some(step => step === '' || step === '.' || step === '..')
  return astray || steps.length === 0 ? undefined : { manager: `${first}/${id}`, path: steps.join('/'), field }
}

/** Every secret reference in a value, with its dotted path. */
export function* referencesIn(value: unknown, path = ''): Generator<{ path: string; text: string }> {
  if (isReference(value)) yield { path, text: value }
  else if (typeof value === 'object' && value !== null) {
    for (const [name, inner] of Object.entries(value))
      yield* referencesIn(inner, path === '' ? name : `${path}.${name}`)
  }
}

/** A copy of a value with what its references stand for in their place; those that stand for nothing stay. */
export function withSecrets<T>(value: T, secretOf: (reference: string) => string | undefined): T {
  const filled = (each: unknown): unknown => {
    if (isReference(each)) return secretOf(each) ?? each
    if (Array.isArray(each)) return each.map(filled)
    return isObject(each)
      ? Object.fromEntries(Object.entries(each).map(([name, inner]) => [name, filled(inner)]))
      : copied(each)
  }
  return filled(value) as T // of the same shape: texts have become texts
}
