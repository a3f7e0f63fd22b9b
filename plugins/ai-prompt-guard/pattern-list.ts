// Patterns held against one text.
import { GatewayError } from '../../core/errors.ts'
import { compileMatcher } from '../../core/patterns/matcher.ts'

/** Which pattern is found in a text; `unknown` when one took too long before any was found. */
export type PatternList = (text: string) => number | 'unknown' | undefined

export function patternList(patterns: readonly string[]): PatternList {
  const matchers = patterns.map(pattern => compileMatcher(pattern))
  return text => {
    try {
      const at = matchers.findIndex(matcher => matcher.test(text))
      return at < 0 ? undefined : at
    } catch (error) {
      if (error instanceof GatewayError && error.code === 'pattern_timeout') return 'unknown'
      throw error
    }
  }
}

/** What the log says of a pattern. */
export function found(list: string, at: number | 'unknown'): string {
  return at === 'unknown' ? `a pattern of ${list} took too long` : `${list}[${at}] matches`
}
