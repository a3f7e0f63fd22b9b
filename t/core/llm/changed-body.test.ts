// Bodies some of whose members have changed, in bytes.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { changedBody } from '../../../core/llm/changed-body.ts'
import { detectProtocol, protocolNamed } from '../../../core/llm/protocols/detect.ts'

describe('a changed body', () => {
  it('keeps every byte of what has not changed, and of lists that have grown', () => {
    const text = '{ "n": 12345678901234567890, "messages": [ {"role":"user", "x": 1.0} ], "z": "\\u0061" }'
    const before = JSON.parse(text) as { messages: object[] }
    const [first, last] = [
      { role: 'system', content: 's' },
      { role: 'user', content: 'u' },
    ]
    const after = { ...before, messages: [first, ...before.messages, last], new: true }
    assert.equal(
      changedBody(Buffer.from(text), before, after).toString(),
      `{ "n": 12345678901234567890, "messages": [${JSON.stringify(first)}, {"role":"user", "x": 1.0} ,${JSON.stringify(last)}], "z": "\\u0061" ,"new":true}`,
    )
  })

  it('says what it was to say, whatever it was', () => {
    const message = fc.record({ role: fc.constantFrom('user', 'assistant'), content: fc.string() })
    const text = fc.record({ text: fc.string() })
    const body = fc.record(
      {
        messages: fc.oneof(fc.array(message), fc.array(fc.jsonValue()), fc.jsonValue()),
        system: fc.oneof(fc.string(), fc.array(text), fc.jsonValue()),
        instructions: fc.oneof(fc.string(), fc.jsonValue()),
        input: fc.oneof(fc.string(), fc.array(fc.oneof(fc.string(), message)), fc.jsonValue()),
        other: fc.jsonValue(),
      },
      { requiredKeys: [] },
    )
    const path = fc.constantFrom('/', '/v1/messages', '/v1/responses', '/model/m/converse')
    const space = fc.constantFrom(undefined, 1)
    fc.assert(
      fc.property(body, path, fc.array(message), fc.array(message), space, (some, where, before, after, indent) => {
        const bytes = Buffer.from(JSON.stringify(some, null, indent))
        const json = JSON.parse(bytes.toString()) as Record<string, unknown>
        const name = detectProtocol(json, where)
        const protocol = (name && protocolNamed(name)) ?? protocolNamed('openai-chat')!
        const roles = [...before, { role: 'system', content: 's' }]
        const changed = protocol.withMessages(json, { before: roles, after })
        assert.deepEqual(JSON.parse(changedBody(bytes, json, changed).toString()), JSON.parse(JSON.stringify(changed)))
      }),
      { numRuns: 500, seed: 8 },
    )
  })
})
