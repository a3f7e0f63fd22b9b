// The list of what a request says, within its bounds.
import assert from 'node:assert/strict'
import { PromptList, type PromptPlace } from '../../../core/llm/prompt.ts'

const place: PromptPlace = { role: 'user', turn: 0 }

describe('a list of prompts', () => {
  it('says in its last place that there was more than it takes', () => {
    const said = new PromptList()
    for (let at = 0; at < 100_010; at++) said.text(place, 'x', 'text')
    assert.equal(said.all.length, 100_001)
    assert.deepEqual(said.all.at(-1), { ...place, kind: 'not_text', text: 'too_many' })
  })

  it('has no JSON in it that is nested deeper than anybody nests', () => {
    const said = new PromptList()
    const deep = '['.repeat(1_000_000) + ']'.repeat(1_000_000)
    said.json(place, JSON.parse(deep), 'tool_use')
    said.json(place, `${deep.slice(0, 1_000_000)}"\\u0062"${deep.slice(1_000_000)}`, 'function')
    assert.deepEqual(said.all[0], { ...place, kind: 'not_text', text: 'tool_use' })
    assert.equal(said.all[1]!.kind, 'tool_arguments')
  })

  it('cuts what a client calls a type', () => {
    const said = new PromptList()
    said.notText(place, 'x'.repeat(1000))
    assert.equal(said.all[0]!.text, 'x'.repeat(64))
  })
})
