// The bytes of a JSON body some of whose members are others now: whatever has not changed keeps its bytes; knows no protocol.
import type { JsonObject } from './json.ts'
import { memberSpan, withMember } from './json-splice.ts'

/**
 * `bytes` of `before` made those of `after`, which may have other values and more members. A list that has only grown at its
 * ends keeps what it had byte for byte: numbers that JavaScript cannot hold, and the beginnings that caches of prompts know.
 */
export function changedBody(bytes: Buffer, before: JsonObject, after: JsonObject): Buffer {
  return Object.keys(after).reduce((changed, key) => {
    const [old, value] = [before[key], after[key]]
    if (old === value) return changed
    const grown = Array.isArray(old) && Array.isArray(value) ? withGrownList(changed, key, [old, value]) : undefined
    return grown ?? withMember(changed, key, JSON.stringify(value))
  }, bytes)
}

/** Undefined when the old list does not stand within the new one. */
function withGrownList(bytes: Buffer, key: string, [old, list]: [old: unknown[], list: unknown[]]): Buffer | undefined {
  const from = list.indexOf(old[0])
  const span = memberSpan(bytes, key)
  if (span === undefined || from < 0 || !old.every((item, at) => item === list[from + at])) return undefined
  const own = bytes.subarray(span.start + 1, span.end - 1)
  const [first, last] = [list.slice(0, from), list.slice(from + old.length)].map(items =>
    items.map(item => JSON.stringify(item)).join(','),
  )
  return Buffer.concat([
    bytes.subarray(0, span.start),
    Buffer.from(first === '' ? '[' : `[${first},`),
    own,
    Buffer.from(last === '' ? ']' : `,${last}]`),
    bytes.subarray(span.end),
  ])
}
