// Patterns of schemas: regular expressions of the authors of schemas, matched against anybody's text.

/** A string is matched up to this length; longer ones match nothing. */
const longestMatched = 65_536

/** Patterns are meant for PCRE; the few that are not valid in Unicode mode are taken as they are. Throws SyntaxError. */
export function boundedPattern(pattern: string): { test(text: string): boolean; toString(): string } {
  let regex: RegExp
  try {
    regex = new RegExp(pattern, 'u')
  } catch {
    regex = new RegExp(pattern)
  }
  // ajv tells patterns apart by toString.
  return { test: text => text.length <= longestMatched && regex.test(text), toString: () => regex.toString() }
}
