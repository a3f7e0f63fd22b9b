// Which pieces of a request moderation is asked about.
import assert from 'node:assert/strict'
import { requestTexts } from '../../../../core/llm/guards/request-texts.ts'
import type { Prompt, PromptRole } from '../../../../core/llm/prompt.ts'

const said = (turn: number, role: PromptRole, text: string): Prompt => ({ role, kind: 'text', text, turn })

describe('what of a request is judged', () => {
  const own = [said(0, 'user', 'before'), said(1, 'assistant', 'answer'), said(2, 'user', 'now')]
  const scope = { roles: new Set<PromptRole>(['user']), kinds: new Set(['text'] as const), mode: 'last' as const }
  const texts = (prompts: readonly Prompt[]) => requestTexts(prompts, own, scope).texts.map(({ text }) => text)

  it('is what users have said since the last answer', () => {
    assert.deepEqual(texts(own), ['now'])
  })

  it('is that and what an operator has put behind it, whoever says it there', () => {
    assert.deepEqual(texts([...own, said(3, 'user', 'put')]), ['now', 'put'])
    assert.deepEqual(texts([...own, said(3, 'assistant', 'put'), said(4, 'user', 'more')]), ['now', 'more'])
    assert.deepEqual(texts([...own, said(3, 'system', 'put')]), ['now'])
  })
})
