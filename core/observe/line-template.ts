// A line of an access log as nginx formats it: text with variables in it, their values escaped; knows no variable.
import type { Variable } from '../router/vars.ts'
import type { JsonBytes } from './json-bytes.ts'

export type Escape = 'default' | 'json'

export interface LineTemplate {
  /** The variables in it, in order, as often as they stand there. */
  readonly names: readonly string[]
  /** Writes the line without its end; `value` is asked for each of `names` by its index. */
  put(line: JsonBytes, value: (index: number) => Variable): void
}

const VARIABLE = /\$(?:\{(\w+)\}|(\w+))/g

/** Reads `$name` and `${name}`; any other dollar is a dollar. */
export function compileLine(format: string, way: Escape): LineTemplate {
  const texts: string[] = []
  const names: string[] = []
  let from = 0
  for (const found of format.matchAll(VARIABLE)) {
    texts.push(format.slice(from, found.index))
    names.push((found[1] ?? found[2])!)
    from = found.index + found[0].length
  }
  const rest = format.slice(from)
  const escaped = way === 'json' ? inJson : inHex
  // What nginx writes for a variable that is not there.
  const missing = way === 'json' ? '' : '-'
  return {
    names,
    put(line, value) {
      for (let at = 0; at < names.length; at++) {
        line.raw(texts[at]!)
        const found = value(at)
        line.raw(found === undefined ? missing : escaped(String(found)))
      }
      line.raw(rest)
    },
  }
}

const PLAIN = /^[ !#-[\]-~]*$/

function inJson(text: string): string {
  return PLAIN.test(text) ? text : JSON.stringify(text).slice(1, -1)
}

/** `"`, `\` and every byte that is not printable ASCII as \xXX, so that a line is a line and fields can be told apart. */
function inHex(text: string): string {
  if (PLAIN.test(text)) return text
  let out = ''
  for (const byte of Buffer.from(text)) {
    const plain = byte >= 0x20 && byte <= 0x7e && byte !== 0x22 && byte !== 0x5c
    out += plain ? String.fromCharCode(byte) : `\\x${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }
  return out
}
