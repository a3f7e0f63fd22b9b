// docs/errors.md against the source: every code that a client may see is in the catalogue, and nothing else is.
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'

const source = globSync('{core,plugins}/**/*.ts')
  // What these call code is no error of a request.
  .filter(file => !/^core\/(config|store)\//.test(file))
  .map(file => readFileSync(file, 'utf8'))
  .join('\n')
  .replace(/^\s*(\/\/|\*|\/\*).*$/gm, '')

/** The codes in the source: of GatewayErrors, of refusals and failures that are data, and of the faults of upstreams. */
function codesInSource(): Set<string> {
  const found = (pattern: RegExp) => [...source.matchAll(pattern)].map(([, code]) => code!)
  const faults = /export type UpstreamFault =((?:\s*\| '[a-z_]+')+)/.exec(source)![1]!
  return new Set([
    ...found(/\b(?:GatewayError|Refused)\(\s*[\w.]+,\s*'([a-z_]+)'/g),
    ...found(/\bsuper\(\s*\d{3},\s*'([a-z_]+)'/g),
    ...found(/\bcode: '([a-z_]+)'/g),
    ...found(/\?\? '([a-z_]+_error)'/g),
    ...[...faults.matchAll(/'([a-z_]+)'/g)].map(([, fault]) => `upstream_${fault}`),
  ])
}

describe('the catalogue of errors', () => {
  const rows = [...readFileSync('docs/errors.md', 'utf8').matchAll(/^\| `([a-z_]+)`\s*\| (\d{3})/gm)]

  it('has every code of the source, once, and no other', () => {
    const listed = rows.map(([, code]) => code!)
    assert.deepEqual(listed.toSorted(), [...new Set(listed)].toSorted(), 'a code stands there twice')
    assert.deepEqual(listed.toSorted(), [...codesInSource()].toSorted())
  })

  it('has the status that the source gives where it gives one', () => {
    const statuses = new Map(rows.map(([, code, status]) => [code, status]))
    const given = [...source.matchAll(/\b(?:GatewayError|Refused|super)\(\s*(\d{3}),\s*'([a-z_]+)'/g)]
    assert.ok(given.length > 10)
    for (const [, status, code] of given) assert.equal(statuses.get(code), status, code!)
  })

  it('finds no code that is made of parts, which it could not know', () => {
    const made = [...source.matchAll(/\bnew GatewayError\(([^,]+),\s*([^,]+),/g)].filter(
      ([, , code]) => !/^'[a-z_]+'$/.test(code!.trim()),
    )
    assert.deepEqual(
      made.map(([whole]) => whole),
      [],
    )
  })
})
