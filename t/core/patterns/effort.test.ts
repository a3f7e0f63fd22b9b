// What is known of a regular expression before it is run.
import assert from 'node:assert/strict'
import { longestDirect, requiredPart } from '../../../core/patterns/effort.ts'
import { compilePattern } from '../../../core/patterns/pattern.ts'

const longest = (pattern: string) => longestDirect(compilePattern(pattern).source)
const required = (pattern: string) => requiredPart(compilePattern(pattern).source)

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
    assert.deepEqual(lengths, [1_000, 100, 31, 10])
    assert.deepEqual(['^a+b', '^/(.*)/(.*)$', '^a+|b', '(?:^a+)b'].map(longest), [1e6, 707, 707, 1_000])
    assert.ok(longest('a{0,9}b+') < longest('b+'))
    assert.ok(longest('(?:a|b)c+') < longest('c+'))
    assert.ok(longest('^(?=.*x)') < Number.POSITIVE_INFINITY)
  })

  it('that repeats what has several ways on none', () => {
    for (const pattern of ['(a+)+$', '(a|aa)+', '(?:a?){30}', '((ab*)c)*', '(?:x(?:y|z)){2,}', '(?=(a*)*b)c'])
      assert.equal(longest(pattern), 0, pattern)
    assert.equal(longest('(?:ab){3}'), Number.POSITIVE_INFINITY)
  })

  it('may have to find a part of itself', () => {
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
      ['(?:one|two)\\s+x', '(?:one|two)'],
      ['(a+)?(b|c)+d*', '(b|c)'],
      ['(?:a|b)?(?=c|d)(?<x>e?)', undefined],
      ['(?:a|b+)', undefined],
      ['([ab])\\1', '([ab])'],
      ['(a)(?:b(\\1))', '(a)'],
      ['ab', undefined],
      ['one|another', undefined],
      ['[password]', undefined],
      ['(password)?', undefined],
      ['\\d\\w\\s', undefined],
    ] as const)
      assert.equal(required(pattern), text, pattern)
  })
})
