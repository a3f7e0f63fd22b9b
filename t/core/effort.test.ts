// What is known of a regular expression before it is run.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { longestDirect, requiredText } from '../../core/effort.ts'
import { compilePattern } from '../../core/pattern.ts'
import { patternSource, patternText } from '../helpers/patterns.ts'

const longest = (pattern: string) => longestDirect(compilePattern(pattern).source)
const required = (pattern: string) => requiredText(compilePattern(pattern).source)

describe('a regular expression', () => {
  it('that repeats nothing without end may be tried on any text', () => {
    for (const pattern of [
      'password',
      '\\b\\d{3}-\\d{2}-\\d{4}\\b',
      'a|b|(?:c|d)e?',
      '[+*?{(|\\]]',
      '\\(\\*\\+',
      '^a$',
    ])
      assert.equal(longest(pattern), Number.POSITIVE_INFINITY, pattern)
  })

  it('that repeats without end only on short ones, and on the shorter the more it repeats', () => {
    const lengths = ['a+b', 'a+b+', 'a+b+[c*]*', 'a+b+c*(d+)\\1'].map(longest)
    assert.deepEqual(lengths, [447, 58, 21, 7])
    assert.ok(longest('a{0,9}b+') < longest('b+'))
    assert.ok(longest('(?:a|b)c+') < longest('c+'))
    assert.ok(longest('^(?=.*x)') < Number.POSITIVE_INFINITY)
  })

  it('that repeats what has several ways on none', () => {
    for (const pattern of ['(a+)+$', '(a|aa)+', '(?:a?){30}', '((ab*)c)*', '(?:x(?:y|z)){2,}', '(?=(a*)*b)c'])
      assert.equal(longest(pattern), 0, pattern)
    assert.equal(longest('(?:ab){3}'), Number.POSITIVE_INFINITY)
  })

  it('may have to find a text', () => {
    for (const [pattern, text] of [
      ['ignore\\s+all\\s+previous', 'previous'],
      ['(credit|debit)\\s*card', 'card'],
      ['cards?', 'card'],
      ['abcd*e+', 'abc'],
      ['colou?r', 'colo'],
      ['abc{2}defg', 'defg'],
      ['\\Qa.b*c\\E+x+', undefined],
      ['a\\.b\\*c', 'a\\.b\\*c'],
      ['(?=never)maybe', 'maybe'],
      ['👋👋👋', '👋👋👋'],
      ['ab', undefined],
      ['one|another', undefined],
      ['[password]', undefined],
      ['(password)?', undefined],
      ['\\d\\w\\s', undefined],
    ] as const)
      assert.equal(required(pattern), text, pattern)
  })

  it('matches nothing that has not what it must have', () => {
    fc.assert(
      fc.property(patternSource, patternText, fc.constantFrom('', 'i', 'ms'), (source, text, options) => {
        const regex = compilePattern(source, options)
        const needed = requiredText(regex.source)
        if (needed !== undefined && regex.test(text)) assert.ok(new RegExp(needed, regex.flags).test(text))
      }),
      { numRuns: 1_000, seed: 8 },
    )
  })
})
