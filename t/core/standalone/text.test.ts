// Documents as text: YAML and JSON, the environment filled in, and the line of what is wrong.
import assert from 'node:assert/strict'
import { parseJson, parseYaml, printYaml } from '../../../core/standalone/text.ts'

describe('YAML', () => {
  const text = `routes:
  - id: 1
    uri: \${{URI:=/hello}}
    upstream: {nodes: {"\${{HOST}}:80": \${{ WEIGHT }}}}
  # more
  - id: two
    status: "\${{STATUS}}"
services:
#END`
  const env = { HOST: 'a.b', WEIGHT: '3', STATUS: '1' }

  it('has the environment in it wherever it is asked for, in names too', async () => {
    const { value } = await parseYaml('f', text, env)
    assert.deepEqual(value, {
      routes: [
        { id: 1, uri: '/hello', upstream: { nodes: { 'a.b:80': 3 } } },
        { id: 'two', status: '1' },
      ],
      services: null,
    })
  })

  it('keeps its text as it is where no environment is given', async () => {
    const { value } = await parseYaml('f', `a: "\${{HOST}}"`)
    assert.deepEqual(value, { a: '${'.concat('{HOST}}') })
  })

  it('knows the lines of its collections and entries', async () => {
    const { where } = await parseYaml('conf/apisix.yaml', text, env)
    assert.equal(where('routes', 0), 'conf/apisix.yaml:2: routes[0]')
    assert.equal(where('routes', 1), 'conf/apisix.yaml:6: routes[1]')
    assert.equal(where('routes', 7), 'conf/apisix.yaml:1: routes[7]')
    assert.equal(where('services'), 'conf/apisix.yaml:8: services')
    assert.equal(where('nobody', 1), 'conf/apisix.yaml: nobody[1]')
  })

  it('is refused with the line of what is wrong', async () => {
    for (const [text, said] of [
      ['a: 1\nb: [', /^f:2: /],
      ['a: 1\n a: 2', /^f:[12]: /],
      ['a:\n  - x: 1\n    x: 2', /^f:3: a\[0\]\.x: stands here twice/],
      ['a: *b', /^f:1: /],
      ['a: 1\nb: ${'.concat('{NO}}'), /^f:2: can't find environment variable NO$/],
      [`a: &x [1]\nb: [${'*x, '.repeat(1_001)}]`, /^f:2: .*more than 1000 aliases/],
    ] as const) {
      await assert.rejects(parseYaml('f', text, {}), { message: said }, text)
    }
  })

  it('is printed so that it can be read again', async () => {
    const value = { routes: [{ id: '1', desc: 'a: b\n#c', n: 1.5, on: true, none: null, text: 'true' }] }
    assert.deepEqual((await parseYaml('f', await printYaml(value))).value, value)
  })
})

describe('JSON', () => {
  const filled = '${'.concat('{N:=5}}')

  it('has the environment in its strings, as what it reads as', () => {
    const { value } = parseJson('f', JSON.stringify({ a: [filled, `x${filled}`, { b: filled }, 1, null] }), {})
    assert.deepEqual(value, { a: [5, 'x5', { b: 5 }, 1, null] })
    assert.deepEqual(parseJson('f', JSON.stringify({ a: filled })).value, { a: filled })
  })

  it('is refused with the line of what is wrong, and quotes nothing', () => {
    assert.throws(() => parseJson('f', '{\n"key": "top-secret",\n}'), { message: 'f:3: is not JSON' })
    const missing = JSON.stringify({ a: '${'.concat('{NO}}') })
    assert.throws(() => parseJson('f', missing, {}), { message: "f: can't find environment variable NO" })
  })

  it('knows the lines of its entries', () => {
    assert.equal(parseJson('f', '{\n"a": [\n1,\n2]}').where('a', 1), 'f:4: a[1]')
  })
})
