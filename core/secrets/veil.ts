// Objects that hold secrets and have no printable form of them: JSON, util.inspect and the log show `***`; knows no secret's place.
import { inspect } from 'node:util'

const VEIL = '***'

/**
 * Makes `holder` an object that shows `***` for these members, where they are anything. What reads its members, compares, copies
 * or posts it, or spreads them into another object, has them as they are.
 */
export function veil(holder: object, names: Iterable<string | number>): void {
  const hidden = [...names].filter(name => !isNothing((holder as Record<string | number, unknown>)[name]))
  const shown = () => {
    const copy = Array.isArray(holder) ? [...(holder as unknown[])] : { ...holder }
    for (const name of hidden) (copy as Record<string | number, unknown>)[name] = VEIL
    return copy
  }
  // Not enumerable, so that nobody meets them. It may be veiled already.
  Object.defineProperties(holder, {
    toJSON: { value: shown, configurable: true },
    [inspect.custom]: {
      value: (_depth: number, options: object, print: typeof inspect) => print(shown(), options),
      configurable: true,
    },
  })
}

function isNothing(value: unknown): boolean {
  return value === undefined || value === null || value === ''
}
