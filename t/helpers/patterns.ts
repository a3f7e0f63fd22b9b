// Patterns without lookaheads and back references, and texts that they often match; both engines must be of one mind on them.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { requiredPart } from '../../core/patterns/effort.ts'
import { compileMatcher, linearMatcher } from '../../core/patterns/matcher.ts'
import { compilePattern } from '../../core/patterns/pattern.ts'

// V8 finds \B also within a character of two units.
const piece = fc.constantFrom(
  ...['a', 'b', 'ab', 'abc', '.', '\\w', '\\s', '\\S', '\\d', '\\n', '[ab]', '[^a]', '[\\s\\d]', '[^\\S]', '[\\w-]'],
  ...['\\b', '^', '\\A', '\\h', '\\H', '\\v', '\\V', '\\R', '\\N', '[[:alpha:]]', '\\Qa.b\\E'],
  ...['é', '👋', '\\x{1f44b}', '\\x41', '\\p{Lu}', '\\PL', '\\.', '-', '\\-', 'S', 'k'],
)
const end = fc.constantFrom('', '', '', '$', '\\z', '\\Z')
const repeat = fc.constantFrom('', '', '', '*', '+', '?', '*?', '+?', '{2}', '{1,3}', '{2,}')

/** Assertions are never repeated: the engines differ in whether they take that. */
const { source } = fc.letrec<{ source: string }>(tie => {
  const atom = fc.oneof(
    { depthSize: 'small' },
    fc.tuple(piece, repeat).map(([one, times]) => (/^(?:\^|\$|\\[bBAzZR]|\\Q.*)$/.test(one) ? one : one + times)),
    fc
      .tuple(fc.constantFrom('(', '(?:', '(?<!a)', '(?<=b)'), tie('source'), repeat)
      .map(([open, inside, times]) =>
        open.startsWith('(?<') ? open : `${open}${inside})${/[\^$]|\\[bBAzZ]/.test(inside) ? '' : times}`,
      ),
  )
  const sequence = fc.array(atom, { minLength: 1, maxLength: 4 }).map(atoms => atoms.join(''))
  return {
    source: fc.oneof(
      { weight: 3, arbitrary: sequence },
      fc.tuple(sequence, sequence).map(two => two.join('|')),
    ),
  }
})
const patternSource = fc.tuple(source, end).map(parts => parts.join(''))

/** Short: some patterns backtrack without end. */
const patternText = fc
  .array(
    fc.constantFrom(
      'a',
      'b',
      'abc',
      'a.b',
      ' ',
      '\n',
      '\r',
      '\u2028',
      '\u00a0',
      '\t',
      '1',
      'É',
      'é',
      '👋',
      'A',
      '-',
      'S',
    ),
    {
      maxLength: 8,
    },
  )
  .map(letters => letters.join(''))

/** A pattern, a text and options. */
export const asked = fc.tuple(patternSource, patternText, fc.constantFrom('', 'i', 'm', 's', 'ims'))

/** Asks V8 and the linear engine. */
export function agree([source, text, options]: readonly [string, string, string]): void {
  const regex = compilePattern(source, options)
  const said = regex.test(text)
  const linear = linearMatcher(source, options)
  assert.ok(linear !== undefined, `${source} is known to the linear engine`)
  assert.equal(linear.test(text), said)
  assert.equal(compileMatcher(source, options).test(text), said)
  const needed = requiredPart(regex.source)
  if (needed !== undefined && said) assert.ok(new RegExp(needed, regex.flags).test(text))
}
