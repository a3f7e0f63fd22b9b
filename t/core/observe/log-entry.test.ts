// The line of a logger: JSON whatever a request has in it, with nothing of its credentials.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { REDACTED } from '../../../core/observe/credentials.ts'
import { JsonBytes } from '../../../core/observe/json-bytes.ts'
import { type Bodies, type Entry, putDefaultLine } from '../../../core/observe/log-entry.ts'
import { HeaderList, reply } from '../../../core/reply.ts'
import { makeContext } from '../../helpers/context.ts'

const noBodies: Bodies = { request: undefined, response: undefined }
const text = fc.string({ unit: 'binary', maxLength: 20 })

/** The line as whoever collects it reads it. */
async function read(bodies: Bodies, more: Entry, fields: readonly string[] = []): Promise<Record<string, Entry>> {
  const ctx = await makeContext()
  ctx.reply = { ...reply(200), headers: new HeaderList([...fields]) }
  const line = new JsonBytes(16)
  putDefaultLine(line, ctx, { bodies, more })
  return JSON.parse(line.written().toString()) as Record<string, Entry>
}

describe('the default line', () => {
  it('has every field by its lower-case name, repeated ones joined, whatever is in them', async () => {
    // Whatever it is, it ends like no name of a credential: "key" was drawn once.
    const other = text.map(drawn => `${drawn}.`)
    const name = fc.oneof(fc.constantFrom('a', 'A', '__proto__', 'X-"Odd"', 'Cookie'), other)
    const fields = fc.array(fc.tuple(name, text), { maxLength: 100 }).map(pairs => pairs.flat())
    await fc.assert(
      fc.asyncProperty(fields, async raw => {
        const expected = new HeaderList(raw).toObject()
        if (expected.cookie !== undefined) expected.cookie = REDACTED
        const { response } = await read(noBodies, {}, raw)
        assert.deepEqual(Object.entries(response!.headers as Entry), Object.entries(expected))
      }),
    )
  })

  it('has bodies as they are, and says where they were cut', async () => {
    await fc.assert(
      fc.asyncProperty(text, fc.boolean(), async (body, truncated) => {
        const { request } = await read({ request: { text: body, truncated }, response: undefined }, {})
        assert.equal(request!.body, body)
        assert.equal(request!.body_truncated, truncated || undefined)
      }),
    )
  })

  it('takes what is added, but for what it says itself', async () => {
    const more = { mine: { deep: ['"'] }, latency: 'false', gone: undefined, '__proto__"': 1 }
    const entry = await read(noBodies, more)
    assert.deepEqual(entry.mine, { deep: ['"'] })
    assert.equal(typeof entry.latency, 'number')
    assert.equal('gone' in entry, false)
    assert.equal(entry['__proto__"'], 1)
  })
})
