// What the wildcards of a pattern take of a path: as PCRE with greedy groups would (facts core 2.3), in linear time.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { captured } from '../../../core/router/path-pattern.ts'

describe('the wildcards of a path pattern', () => {
  const table: [pattern: string, path: string, taken: Record<string, string>][] = [
    ['/users/:id', '/users/7', { id: '7' }],
    ['/users/:id/posts/:post', '/users/7/posts/8', { id: '7', post: '8' }],
    ['/files/*path', '/files/a/b', { path: 'a/b' }],
    ['/files/*', '/files/a/b/', { ':ext': 'a/b/' }],
    ['/files/*path', '/files/', { path: '' }],
    ['/a/*x/b/*y', '/a/1/b/2/b/3', { x: '1/b/2', y: '3' }],
    ['/a/*x/:last', '/a/1/2/3', { x: '1/2', last: '3' }],
    ['/:a/:a', '/1/2', { a: '2' }],
    ['/a', '/a', {}],
    ['/foo*bar', '/foo/x', {}],
    ['/v1/ns:verb', '/v1/nsx', {}],
    ['/*__proto__/:constructor', '/1/2', { ['__proto__']: '1', constructor: '2' }],
  ]
  for (const [pattern, path, taken] of table) {
    it(`take ${JSON.stringify(taken)} of ${path} for ${pattern}`, () => {
      assert.deepEqual([...captured(pattern, path)], Object.entries(taken))
    })
  }

  it('take what greedy groups take, of every path that fits', () => {
    const wanted = fc.array(fc.constantFrom('a', 'b', '*x', '*', '*y', ':p', ':q', 'a*'), {
      minLength: 1,
      maxLength: 6,
    })
    const given = fc.array(fc.constantFrom('a', 'b', 'a*', 'c'), { maxLength: 8 })
    fc.assert(
      fc.property(wanted, given, fc.boolean(), (segments, path, folder) => {
        const names: string[] = []
        const groups = segments.map(segment => {
          if (!/^[*:]/.test(segment)) return segment.replace('*', '\\*')
          names.push(segment.slice(1) || ':ext')
          return segment.startsWith('*') ? '(.*)' : '([^/]+)'
        })
        const whole = `/${path.join('/')}${folder ? '/' : ''}`
        const fitting = new RegExp(`^/${groups.join('/')}$`).exec(whole)
        fc.pre(fitting !== null && !whole.includes('//'))
        const expected = new Map(names.map((name, at) => [name, fitting[at + 1]!]))
        assert.deepEqual(captured(`/${segments.join('/')}`, whole), expected)
      }),
      { numRuns: 1_000, seed: 20_261_120 },
    )
  })

  it('take no longer for a path that was made to try every place for every star', () => {
    const started = process.cpuUsage()
    const taken = captured('/*a/b/*b/c/*c/d/*d/e', `/x${'/b/c/d'.repeat(10_000)}/y/e`)
    assert.equal(taken.get('d'), 'y')
    assert.ok(process.cpuUsage(started).user < 500_000)
  })
})
