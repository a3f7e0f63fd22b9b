// Whether a pattern of a user's is found in a text of anybody's, in a time that nobody can stretch; changes no text.
import { RE2JS } from 're2js'
import { GatewayError } from '../errors.ts'
import { cutOff } from './cut-off.ts'
import { longestDirect, requiredPart } from './effort.ts'
import { compilePattern, linearPattern, PatternError } from './pattern.ts'

export interface Matcher {
  /** Throws GatewayError 500 `pattern_timeout` where it can be known neither in linear time nor in a tenth of a second. */
  test(text: string): boolean
}

/**
 * Compiles a pattern as `compilePattern` does, for texts of any kind and length. V8 takes those on which it cannot take
 * long; all others go to an engine whose time grows with the text and no faster (re2js: 5 to 25 ns per character, where V8's
 * own linear one takes 50 to 150 and knows no `i`). It has no lookaheads and no back references: patterns with those are V8's
 * on texts of any length, and are cut off.
 */
export function compileMatcher(source: string, options = ''): Matcher {
  const regex = compilePattern(source, options)
  const short = longestDirect(regex.source)
  const needed = requiredPart(regex.source)
  const glance = needed === undefined ? undefined : new RegExp(needed, regex.flags)
  let thorough: Matcher | undefined
  return {
    test(text) {
      if (text.length <= short) return regex.test(text)
      if (glance?.test(text) === false) return false
      thorough ??= linearMatcher(source, options) ?? { test: cutOff((long: string) => regex.test(long)) }
      return thorough.test(text)
    },
  }
}

/**
 * What is wrong with a pattern, if anything: it does not compile, or it takes for ever on a text that is made of what it
 * repeats, and no linear engine can be asked instead.
 */
export function patternProblem(source: string, options = ''): string | undefined {
  try {
    const regex = compilePattern(source, options)
    if (longestDirect(regex.source) > 0 || linearMatcher(source, options) !== undefined) return undefined
    const test = cutOff((text: string) => regex.test(text))
    for (const text of pumps(regex.source)) test(text)
    return undefined
  } catch (error) {
    if (error instanceof PatternError) return error.message
    if (!(error instanceof GatewayError)) throw error
    return 'it backtracks without end, and has a lookahead or a back reference, without which it would not matter'
  }
}

/** Runs in linear time on every text. Undefined for what the linear engine does not know. */
export function linearMatcher(source: string, options = ''): RE2JS | undefined {
  const { pattern, flags } = linearPattern(source, options)
  if (BEHIND_THE_END.test(pattern)) return undefined
  let bits = RE2JS.LOOKBEHINDS
  if (flags.has('i')) bits |= RE2JS.CASE_INSENSITIVE
  if (flags.has('m')) bits |= RE2JS.MULTILINE
  if (flags.has('s')) bits |= RE2JS.DOTALL
  try {
    return RE2JS.compile(pattern, bits)
  } catch {
    return undefined
  }
}

/** There the two dialects differ. */
const BEHIND_THE_END = /\\n\?\\z\)(?![)|]|$)/

/** Texts that go on and on with each character that stands in the pattern, and then do not. */
function pumps(pattern: string): string[] {
  const characters = new Set([...pattern.replace(/\\[\s\S]/g, '').replace(/[()[\]{}|?*+^$.]/g, ''), 'a', '0', ' '])
  return [...characters].slice(0, 64).map(character => `${character.repeat(64)}\0`)
}
