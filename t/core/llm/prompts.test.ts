// Which pieces of a request guards look at.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Prompt, PromptKind, PromptRole } from '../../../core/llm/prompt.ts'
import { joined, lastAnswer, lastTurn, select, trailingTurns } from '../../../core/llm/prompts.ts'

const one = (turn: number, role: PromptRole, text: string, kind: PromptKind = 'text'): Prompt => ({
  turn,
  role,
  kind,
  text,
})
const set = <T>(...values: T[]): ReadonlySet<T> => new Set(values)

const talk = [
  one(-1, 'system', 's'),
  one(0, 'user', 'a'),
  one(1, 'assistant', 'b'),
  one(1, 'assistant', '{}', 'tool_arguments'),
  one(2, 'tool', 'c', 'tool_result'),
  one(2, 'user', 'd'),
  one(3, 'user', 'e'),
  one(4, 'user', 'image', 'not_text'),
]

describe('guards choose', () => {
  it('roles and kinds', () => {
    assert.equal(joined(select(talk, { roles: set('user'), kinds: set('text') })), 'a d e')
    assert.equal(
      joined(select(talk, { roles: set('assistant', 'tool'), kinds: set('tool_arguments', 'tool_result') })),
      '{} c',
    )
  })

  it('the last message of a kind', () => {
    assert.equal(lastTurn(talk, set('text')), 3)
    assert.equal(lastTurn(talk, set('tool_result')), 2)
    assert.equal(lastTurn(talk.slice(0, 1), set('text')), -1)
    assert.equal(lastTurn(talk, set('reasoning')), -2)
  })

  it('what is new since the model spoke', () => {
    assert.equal(lastAnswer(talk), 1)
    assert.equal(lastAnswer(talk.slice(0, 2)), -1)
  })

  it('what has been said at the end by some', () => {
    assert.equal(joined(trailingTurns(talk, set('user'))), 'c d e image')
    assert.equal(joined(trailingTurns(talk, set('user', 'assistant'))), 'a b {} c d e image')
    assert.equal(joined(trailingTurns(talk, set('tool'))), '')
    assert.equal(joined(trailingTurns(talk.slice(0, 6), set('tool'))), 'c d')
  })

  it('with all roles everything but what stands in front', () => {
    const role = fc.constantFrom<PromptRole>('system', 'user', 'assistant', 'tool')
    const prompts = fc.array(fc.tuple(fc.nat(1), role), { maxLength: 8 }).map(steps =>
      steps.map(([_step, who], at) =>
        one(
          steps.slice(0, at + 1).reduce((sum, [by]) => sum + by, -1),
          who,
          'x',
        ),
      ),
    )
    fc.assert(
      fc.property(prompts, role, (all, who) => {
        const behind = all.filter(({ turn }) => turn >= 0)
        assert.deepEqual(trailingTurns(all, set('system', 'user', 'assistant', 'tool')), behind)
        const end = trailingTurns(all, set(who))
        assert.deepEqual(end, behind.slice(behind.length - end.length))
        for (const { turn } of end) assert.ok(end.some(prompt => prompt.turn === turn && prompt.role === who))
      }),
      { numRuns: 300, seed: 8 },
    )
  })
})
