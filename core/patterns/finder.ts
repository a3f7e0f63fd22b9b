// Where a pattern of a user's is found in a text of anybody's, with its groups, in a time that nobody can stretch.
import { cutOff } from './cut-off.ts'
import { longestDirect } from './effort.ts'
import { linearMatcher } from './matcher.ts'
import { compilePattern } from './pattern.ts'

export interface Found {
  readonly index: number
  /** The match itself is the first; undefined are those that took no part. */
  readonly groups: readonly (string | undefined)[]
}

/** The first match. Throws GatewayError 500 `pattern_timeout` as a Matcher does. */
export type Finder = (text: string) => Found | undefined

/** As `compileMatcher`. */
export function compileFinder(source: string, options = ''): Finder {
  const regex = compilePattern(source, options)
  const short = longestDirect(regex.source)
  const direct: Finder = text => {
    const found = regex.exec(text)
    return found === null ? undefined : { index: found.index, groups: [...found] }
  }
  const linear = lazily(() => linearFinder(source, options))
  const bounded = lazily(() => cutOff(direct))
  return text => {
    if (text.length <= short) return direct(text)
    // There the linear engine would take it along.
    const find = text.endsWith('\n') ? undefined : linear()
    return (find ?? bounded())(text)
  }
}

function lazily<T>(make: () => T): () => T {
  let made: { value: T } | undefined
  return () => {
    made ??= { value: make() }
    return made.value
  }
}

/** Finds in linear time. Undefined for what the linear engine does not know. */
function linearFinder(source: string, options: string): Finder | undefined {
  const pattern = linearMatcher(source, options)
  if (pattern === undefined) return undefined
  return text => {
    const matcher = pattern.matcher(text)
    if (!matcher.find()) return undefined
    const groups = Array.from({ length: matcher.groupCount() + 1 }, (_, at) => matcher.group(at) ?? undefined)
    return { index: matcher.start(), groups }
  }
}
