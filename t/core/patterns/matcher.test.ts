// Whether patterns are found: by one engine or another, with the same answer, in a time that no text can stretch.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { compileMatcher, patternProblem } from '../../../core/patterns/matcher.ts'
import { PatternError } from '../../../core/patterns/pattern.ts'
import { agree, asked } from '../../helpers/patterns.ts'

const LONG = 100_000

describe('a matcher', () => {
  it('takes milliseconds for what would take V8 for ever', () => {
    const hostile: [string, string][] = [
      ['(a+)+$', `${'a'.repeat(LONG)}b`],
      ['(a|aa)+$', `${'a'.repeat(LONG)}b`],
      ['(?:a?){30}a{30}$', `${'a'.repeat(LONG)}b`],
      ['\\s+$', `${' '.repeat(LONG)}b`],
      ['(?i)([a-z]+\\s?)*!', 'ab '.repeat(LONG / 3)],
      ['(?<=x)(y+)+z', `x${'y'.repeat(LONG)}`],
      ['(.*)(.*)(.*)(.*)x$', 'a'.repeat(LONG)],
      ['^(([a-z])+.)+[A-Z]([a-z])+$', 'a'.repeat(LONG)],
    ]
    for (const [pattern, text] of hostile) {
      const matcher = compileMatcher(pattern)
      const begun = performance.now()
      assert.equal(matcher.test(text), false, pattern)
      // Seen: 0.1 to 45 ms.
      assert.ok(performance.now() - begun < 2_000, pattern)
    }
  })

  it('says of long texts what it says of short ones', () => {
    const around = (text: string) => `${'word '.repeat(2_000)}${text}${' word'.repeat(2_000)}`
    for (const [pattern, yes, no] of [
      ['(?i)ignore\\s+(?:all\\s+)?previous', 'IGNORE \u00a0 previous', 'ignore\u200bprevious'],
      ['a[\\s]+b\\S+c', 'a \n bxc', 'a \n b c'],
      ['-[^\\S]{2,}x+', '-\t\tx', '-\tx'],
      ['(?s)begin.+end', 'begin\nend', 'end begin'],
      ['begin[^x]+?end', 'begin\nend', 'beginxend'],
      ['(?m)^line\\d+$', '\nline7\n', '\rline7\r'],
      ['(?<!no )go+al', 'goal', 'no goal'],
      ['(?!never)ever+y', 'every', 'ever'],
      ['(["\']).+\\1', '"a"', '"a\''],
    ] as const) {
      const matcher = compileMatcher(pattern)
      for (const dress of [(text: string) => text, around]) {
        assert.equal(matcher.test(dress(yes)), true, `${pattern} matches ${yes}`)
        assert.equal(matcher.test(dress(no)), false, `${pattern} does not match ${no}`)
      }
    }
  })

  // More of it: npm run soak -- patterns.
  it('is of one mind with V8, whoever is asked', () => {
    fc.assert(fc.property(asked, agree), { numRuns: 400, seed: 8 })
  })

  it('is cut off where only V8 can be asked, and goes on after that', () => {
    const matcher = compileMatcher('^(?=a)(a+)+$')
    const begun = performance.now()
    for (let time = 0; time < 2; time++) {
      assert.throws(() => matcher.test(`${'a'.repeat(LONG)}b`), { code: 'pattern_timeout' })
      assert.equal(matcher.test('aaa'), true)
    }
    // Seen: 205 ms.
    assert.ok(performance.now() - begun < 5_000)
  })

  it('refuses what cannot be read', () => {
    assert.throws(() => compileMatcher('(?>a)'), PatternError)
  })
})

describe('what is wrong with a pattern', () => {
  it('is nothing where it ends, or where the linear engine can be asked', () => {
    for (const pattern of ['a', '(a+)+$', '^(?!.*password)', '(?=.*[A-Z])(?=.*\\d).{8,}', '(a)\\1', '(?=a)(?:ab?){2}'])
      assert.equal(patternProblem(pattern), undefined, pattern)
  })

  it('is that it backtracks without end', () => {
    for (const pattern of ['(?=a)(a+)+$', '(a+)+\\1$', '(?!b)(\\w+\\s?)+$', '(?=0)([0-9]|00)*x'])
      assert.match(patternProblem(pattern)!, /^it backtracks without end/, pattern)
  })

  it('is what compiling says', () => {
    assert.equal(patternProblem('('), 'Unterminated group')
    assert.equal(patternProblem('a', 'x'), 'unsupported option "x"')
  })
})
