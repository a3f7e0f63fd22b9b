// How PCRE patterns read in JavaScript; knows no plugin.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: that is how templates of APISIX look
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { compilePattern, compileReplacement, expand, PatternError } from '../../../core/patterns/pattern.ts'

const matches = (pattern: string, text: string, options?: string) => compilePattern(pattern, options).test(text)

describe('a PCRE pattern', () => {
  it('takes its options from ngx.re and from a prefix', () => {
    assert.equal(matches('abc', 'ABC', 'joi'), true)
    assert.equal(matches('(?i)abc', 'ABC'), true)
    assert.equal(matches('^(?is)a.b', 'A\nB'), true)
    assert.equal(matches('abc', 'ABC', 'jo'), false)
  })

  it('reads escapes of its own as PCRE does', () => {
    for (const [pattern, yes, no] of [
      ['\\Aab\\z', 'ab', 'ab\n'],
      ['ab\\Z', 'ab\n', 'ab\n\n'],
      ['^a\\hb$', 'a\tb', 'a\nb'],
      ['^a\\vb$', 'a\nb', 'a b'],
      ['^a\\Rb$', 'a\r\nb', 'a\r\rb'],
      ['^\\Qa.b(\\E+$', 'a.b((', 'aab('],
      ['^\\x{263a}\\x41\\e$', '\u263aA\x1b', '\u263aA'],
      ['^\\pL\\P{Lu}$', 'Éé', 'éÉ'],
      ['^(a|b)\\g{1}$', 'bb', 'ab'],
      ['^(?P<x>a|b)(?P=x)$', 'aa', 'ab'],
      ["^(?'x'a|b)\\k'x'$", 'aa', 'ba'],
      ['^\\#\\-\\@\\"\\ $', '#-@" ', '#-@"'],
      ['^a(?#nothing)b$', 'ab', 'a'],
    ] as const) {
      assert.equal(matches(pattern, yes), true, `${pattern} matches ${JSON.stringify(yes)}`)
      assert.equal(matches(pattern, no), false, `${pattern} does not match ${JSON.stringify(no)}`)
    }
  })

  it('lets a dot stop at newlines only and a dollar stand before the last one', () => {
    assert.equal(matches('^a.b$', 'a\rb'), true)
    assert.equal(matches('^a.b$', 'a\nb'), false)
    assert.equal(matches('secret$', 'secret\n'), true)
    assert.equal(matches('secret$', 'secret\n\n'), false)
  })

  it('knows no lines but those that newlines end, and no character of two halves', () => {
    assert.equal(matches('(?m)^b$', 'a\nb\nc'), true)
    assert.equal(matches('(?m)^b$', 'a\rb\u2028c'), false)
    assert.equal(matches('[^x]\\z', '👋'), true)
    assert.equal(matches('\\A\\z', '👋'), false)
  })

  it('reads classes as PCRE does', () => {
    for (const [pattern, yes, no] of [
      ['^[]a]+$', ']a', 'b'],
      ['^[^]a]+$', 'b', ']'],
      ['^[\\w-.]+$', 'a-b.c', 'a b'],
      ['^[a-\\d]+$', 'a-7', 'b'],
      ['^[[:alpha:]_[]+$', 'aZ_[', '1'],
      ['^[[:punct:]]+$', '!/:@[`{~', 'a'],
      ['^[a\\-z]+$', 'a-z', 'b'],
      ['^[-a]+[a-]$', '-a-', 'b'],
    ] as const) {
      assert.equal(matches(pattern, yes), true, `${pattern} matches ${yes}`)
      assert.equal(matches(pattern, no), false, `${pattern} does not match ${no}`)
    }
  })

  it('takes braces that are no quantifier as themselves', () => {
    assert.equal(matches('^{"a":{}}$', '{"a":{}}'), true)
    assert.equal(matches('^a{,2}b{2}]$', 'a{,2}bb]'), true)
  })

  it('is refused where JavaScript cannot do what it says', () => {
    for (const pattern of ['a++', '(?>a)', '(?R)', 'a(?i)b', '(', '[a', 'a\\', '\\Ka', '[[:nope:]]', '(?x) a', '\\y'])
      assert.throws(() => compilePattern(pattern), PatternError, pattern)
    assert.throws(() => compilePattern('a', 'x'), /unsupported option "x"/)
    assert.throws(() => compilePattern('a'.repeat(20_000)), /longer than/)
    assert.throws(() => compilePattern('('), { message: 'Unterminated group' })
  })

  it('matches any quoted text exactly', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), text => {
        fc.pre(!text.includes('\\E'))
        const found = compilePattern(`\\A\\Q${text}\\E\\z`).exec(text)
        assert.equal(found?.[0], text)
      }),
    )
  })
})

describe('a replacement', () => {
  it('puts groups in, and a dollar for two', () => {
    const groups = compilePattern('(a)(b)?').exec('a')!
    assert.equal(expand(compileReplacement('<$1${1}$2$$1$0>'), groups), '<aa$1a>')
    assert.equal(expand(compileReplacement(''), groups), '')
  })

  it('is refused with any other dollar', () => {
    for (const template of ['$name', 'a$', '${name}', '$&'])
      assert.throws(() => compileReplacement(template), PatternError)
  })
})
