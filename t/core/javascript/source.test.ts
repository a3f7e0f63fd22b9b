// Texts that should be functions: which are, which are Lua, and which are neither.
import assert from 'node:assert/strict'
import { namesIn, sourceProblem } from '../../../core/javascript/source.ts'

const said = (source: string) => sourceProblem(source, 'EXAMPLE')

describe('the text of a function', () => {
  it('is a function of JavaScript, in any of its forms', () => {
    for (const source of [
      'function (vars) { return vars.uri }',
      'function(conf, ctx) {\n  // a comment at the end\n}',
      '(conf, ctx) => ({ status: 403 })',
      'async (conf, ctx) => { await null }',
      'async function named(conf) {} // and more',
      ' conf => conf',
    ])
      assert.equal(said(source), undefined, source)
  })

  it('is told from Lua, whose writer hears what to write instead', () => {
    for (const source of [
      'return function(conf, ctx) ngx.say("hello") end',
      'function(vars) return vars.arg_name == "json" end',
      'function(vars)\n  if vars.uri ~= "/" then return true end\n  return false\nend',
      'local core = require("apisix.core")\nreturn function() core.log.warn("x") end',
    ])
      assert.equal(
        said(source),
        'is Lua, which is not run here: write JavaScript: EXAMPLE (docs/plugins.md, JavaScript in configs)',
        source,
      )
  })

  it('is told from what is no function', () => {
    assert.match(said('1 + 1')!, /^is no function: write JavaScript: EXAMPLE/)
    assert.match(said('(1 + 1)')!, /^is no function/)
    assert.match(said('conf =>')!, /^is no JavaScript \(Unexpected token/)
    assert.match(said(`() => "${'x'.repeat(65_536)}"`)!, /^is longer than 65536 characters/)
  })

  it('names the variables that it could ask for', () => {
    assert.deepEqual(namesIn("vars => vars.http_x_a === '1' && vars['arg_b']"), ['vars', 'http_x_a', 'arg_b'])
  })
})
