// Templates with a request's values in them.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { compileBodyTemplate, TemplateError, type Values } from '../../core/body-template.ts'

const render = (text: string, values: Values) => compileBodyTemplate(text)(values)

describe('a template', () => {
  it('has values in it, escaped as for HTML or as they are', () => {
    const values = { a: `<b> & "c" 'd'/`, n: 1.5, yes: true, nothing: null }
    assert.equal(render('{{a}}', values), '&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;&#47;')
    assert.equal(render('({* a *})', values), `(<b> & "c" 'd'/)`)
    assert.equal(render('{{ n }},{{ yes }},{{ nothing }},{{ missing }}', values), '1.5,true,,')
    assert.equal(render('a{# a remark #}b', values), 'ab')
    assert.equal(render('{{a', values), '{{a')
    assert.equal(render('{{ constructor }}{{ __proto__ }}', values), '')
  })

  it('finds values by paths', () => {
    const values = { user: { name: 'x', 'first-name': 'y', '1': 'one' }, items: ['a', { b: 'c' }] }
    for (const [path, said] of [
      ['user.name', 'x'],
      ['user["first-name"]', 'y'],
      ["user [ 'name' ]", 'x'],
      ['user[1]', 'one'],
      ['items[1]', 'a'],
      ['items[2].b', 'c'],
      ['items[3]', ''],
      ['user.none', ''],
    ] as const)
      assert.equal(render(`{{${path}}}`, values), said, path)
  })

  it('cannot be rendered without what it takes parts of, or with what is no text', () => {
    assert.throws(() => render('{{ a.b.c }}', { a: {} }), { message: 'a.b is missing, and has no c' })
    assert.throws(() => render('{{ a }}', { a: { b: 1 } }), { message: 'a is no text, number or boolean' })
  })

  it('is no Lua', () => {
    for (const text of [
      '{% for x in y do %}',
      '{{ a + 1 }}',
      '{{ f(a) }}',
      '{( file )}',
      '{[ x ]}',
      '{{ a or "b" }}',
      '{{}}',
    ])
      assert.throws(() => compileBodyTemplate(text), TemplateError, text)
    for (const name of ['_ctx.var.uri', '_body', '_escape_json'])
      assert.throws(() => compileBodyTemplate(`{{ ${name} }}`), /is not known to this version/)
  })

  it('never puts a value where another place may be', () => {
    fc.assert(
      fc.property(fc.string(), value => {
        assert.equal(render('{*a*}{*b*}', { a: `${value}{{b}}`, b: 'x' }), `${value}{{b}}x`)
        assert.doesNotMatch(render('{{a}}', { a: value }), /[<>"'/]/)
      }),
      { numRuns: 200, seed: 8 },
    )
  })
})
