// Whether a JSON body says something twice that JavaScript reads once; knows no protocol.
import { skipString } from './json-splice.ts'

const QUOTE = 0x22
const COLON = 0x3a

/**
 * Whether some object in `bytes`, however deep, has a key twice. `json` is what JSON.parse makes of them, which keeps the last;
 * other readers keep the first, and so are told something else than who looked at `json` has seen. Costs 0.02 us for a short string.
 */
export function hasTwins(bytes: Buffer, json: unknown): boolean {
  return members(bytes) !== keys(json)
}

/** Outside of strings there is one colon for each. Byte by byte: between strings there are few, and a search of Node's costs 50 ns. */
function members(bytes: Buffer): number {
  let count = 0
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] === COLON) count++
    else if (bytes[at] === QUOTE) at = skipString(bytes, at) - 1
  }
  return count
}

/** Without calls within calls: what JSON.parse reads may be nested too deep for them. */
function keys(json: unknown): number {
  let count = 0
  const open: unknown[] = [json]
  while (open.length > 0) {
    const value = open.pop()
    if (typeof value !== 'object' || value === null) continue
    const own = Object.values(value) as unknown[]
    if (!Array.isArray(value)) count += own.length
    for (const item of own) if (typeof item === 'object') open.push(item)
  }
  return count
}
