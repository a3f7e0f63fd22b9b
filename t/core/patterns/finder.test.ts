// Where patterns are found: by one engine or another, with the same groups.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { compileFinder } from '../../../core/patterns/finder.ts'
import { compilePattern } from '../../../core/patterns/pattern.ts'

const LONG = 2_000

describe('a finder', () => {
  it('has the same groups on short texts and on long ones', () => {
    const parts = fc.constantFrom('a', 'b', '/', '-', 'ab', 'é', '👋', '.')
    const sources = ['^/?(\\w+)/(.*)$', '/(a+)(?:-(b+))?', '(a|ab)(b?)(/)', '(?<first>[^/]*)/([^/]+?)/(.+)'].concat([
      '(?i)(A)(-)?(.)',
      '(a)(?=b)',
      '(.)\\1',
    ])
    const patterns = sources.map(source => ({ find: compileFinder(source), regex: compilePattern(source) }))
    fc.assert(
      fc.property(fc.constantFrom(...patterns), fc.array(parts, { maxLength: 10 }), ({ find, regex }, text) => {
        const long = `${text.join('')}${'!'.repeat(LONG)}`
        const found = find(long)
        const expected = regex.exec(long)
        assert.equal(found?.index, expected?.index)
        assert.deepEqual(found?.groups, expected === null ? undefined : [...expected])
      }),
      { numRuns: 300, seed: 8 },
    )
  })

  it('ends before the newline that ends a text', () => {
    for (const text of ['x\n', `${'-'.repeat(LONG)}x\n`]) assert.equal(compileFinder('x+$')(text)?.groups[0], 'x')
  })

  it('takes milliseconds for what would take V8 for ever', () => {
    const begun = performance.now()
    assert.equal(compileFinder('^(/(\\w+/?)*)+!$')(`/${'a'.repeat(30_000)}`), undefined)
    assert.equal(compileFinder('(\\s*)*x')(' '.repeat(30_000)), undefined)
    // Seen: 30 ms.
    assert.ok(performance.now() - begun < 3_000)
  })

  it('is cut off where only V8 can be asked', () => {
    assert.throws(() => compileFinder('^(?=/)/(a+)+!$')(`/${'a'.repeat(LONG)}`), { code: 'pattern_timeout' })
  })
})
