// What can be told of a regular expression before it is run: how long V8 may try, and what a text must have; knows no text.

/** What a match may cost, each step about a nanosecond or two. */
const MAX_STEPS = 1_000_000
/** Ways through a pattern without repetitions that do not matter on a text of any length. */
const MAX_WAYS = 1_000

interface Open {
  /** There is more than one way through what stands in the group. */
  winding: boolean
  alternatives: number
}

/**
 * The length of a text up to which V8 needs no more than MAX_STEPS for `pattern`, which is in JavaScript's dialect: it goes
 * through every way there is, from every place, or from the first if the pattern is tied to it. A repetition without end has as
 * many ways as the text is long; one of something that has several ways itself has ever so many, and then it is 0.
 */
export function longestDirect(pattern: string): number {
  let degree = 0
  let ways = 1
  const groups: Open[] = [{ winding: false, alternatives: 1 }]
  let closed: Open | undefined
  for (const [token] of pattern.matchAll(TOKENS)) {
    const group = groups.at(-1)!
    const repeat = REPEAT.exec(token)
    if (repeat !== null) {
      const [least, most] = bounds(repeat)
      if (closed?.winding === true && most > 1) return 0
      if (most === Number.POSITIVE_INFINITY) degree++
      else ways *= most - least + 1
      if (most > least) group.winding = true
    } else if (token.startsWith('(')) groups.push({ winding: false, alternatives: 1 })
    else if (token === ')' && groups.length > 1) {
      closed = groups.pop()!
      ways *= closed.alternatives
      if (closed.winding) groups.at(-1)!.winding = true
      continue
    } else if (token === '|') {
      group.alternatives++
      group.winding = true
    } else if (BACK.test(token)) degree++
    closed = undefined
  }
  const { alternatives } = groups[0]!
  ways *= alternatives
  const isTied = pattern.startsWith('^') && alternatives === 1
  if (degree === 0) return ways > MAX_WAYS ? MAX_STEPS / ways : Number.POSITIVE_INFINITY
  return Math.floor((MAX_STEPS / ways) ** (1 / (isTied ? degree : degree + 1)) + 1e-9)
}

const TOKENS =
  /\\(?:[pPu]\{[^}]*\}|k<[^>]*>|x[\da-fA-F]{2}|u[\da-fA-F]{4}|[\s\S])|\[(?:\\[\s\S]|[^\]\\])*\]|\{\d+(?:,\d*)?\}\??|[*+?]\??|\(\??|[\s\S]/gu
const REPEAT = /^(?:([*+?])|\{(\d+)(,?)(\d*)\})\??$/
const BACK = /^\\(?:[1-9]|k)/

function bounds([, sign, least, comma, most]: RegExpExecArray): readonly [least: number, most: number] {
  if (sign === '?') return [0, 1]
  if (sign !== undefined) return [sign === '+' ? 1 : 0, Number.POSITIVE_INFINITY]
  if (comma === '') return [Number(least), Number(least)]
  return [Number(least), most === '' ? Number.POSITIVE_INFINITY : Number(most)]
}

/**
 * A part of a pattern that every match has in it, and that V8 may seek in any text: the longest run of letters, else a group
 * that repeats nothing without end, such as a choice of words. Undefined where there is none. To see that it is missing costs a
 * nanosecond a character and less.
 */
export function requiredPart(pattern: string): string | undefined {
  const runs: string[][] = [[]]
  const groups: string[] = []
  let depth = 0
  let from = 0
  let justClosed = false
  for (const { 0: token, index } of pattern.matchAll(TOKENS)) {
    if (token === '|' && depth === 0) return undefined
    const repeat = REPEAT.exec(token)
    if (token.startsWith('(')) {
      if (depth === 0) from = index
      depth++
    } else if (token === ')') {
      depth--
      if (depth === 0) groups.push(pattern.slice(from, index + 1))
    } else if (depth > 0) continue
    else if (repeat !== null && bounds(repeat)[0] === 0) (justClosed ? groups : runs.at(-1)!).pop()
    else if (LITERAL.test(token)) {
      runs.at(-1)!.push(token)
      justClosed = false
      continue
    }
    justClosed = token === ')'
    runs.push([])
  }
  const longest = runs.reduce((one, other) => (other.length > one.length ? other : one))
  return longest.length < LEAST_REQUIRED ? groups.find(isTelling) : longest.join('')
}

/** Short of what looks around, what may be empty, and what may take long. */
function isTelling(group: string): boolean {
  if (/^\(\?(?:<?[=!])/.test(group) || longestDirect(group) !== Number.POSITIVE_INFINITY) return false
  return !new RegExp(group, 'u').test('')
}

const LEAST_REQUIRED = 3
/** A character, or one that is escaped to be itself. */
const LITERAL = /^(?:[^\\^$.*+?()[\]{}|]|\\[\^$\\.*+?()[\]{}|/-])$/u
