// Nonsense in the place of requests, answers and streams: nothing throws, lasts or is kept. More of it: npm run soak -- llm-nonsense.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { sse } from '../core/llm/framing/sse.ts'
import { nonsenseJson, nonsenseStream, protocols, readNonsense, takeNonsense } from './llm-nonsense.ts'

describe('nonsense', () => {
  it('as a stream does no harm', () => {
    fc.assert(fc.property(nonsenseStream, readNonsense), { numRuns: 500, seed: 8 })
  })

  it('as a request or an answer does no harm', () => {
    fc.assert(fc.property(nonsenseJson, takeNonsense), { numRuns: 1_000, seed: 8 })
  })

  it('without end is not kept, whatever it looks like', () => {
    const endless: [string, string, string, number][] = [
      ['one line', 'data: ', 'x', 20],
      ['one event of many lines', 'data: ', 'data: {\n', 20],
      ['brackets', 'data: ', '[', 20],
      ['empty events', '', '\n', 1],
      ['text', '', `data: {"choices":[{"delta":{"content":"${'x'.repeat(999)}"}}]}\n\n`, 3],
      ['typed text', '', `event: response.output_text.delta\ndata: {"delta":"${'x'.repeat(999)}"}\n\n`, 3],
    ]
    for (const [what, begin, unit, megabytes] of endless) {
      const more = Buffer.from(unit.repeat(2 ** 20 / unit.length))
      for (const protocol of protocols) {
        const reader = protocol.openReader({}, true)
        const splitter = (protocol.framing ?? sse).open()
        splitter.feed(Buffer.from(begin))
        for (let read = 0; read < megabytes; read++) {
          const frames = splitter.feed(more)
          if (frames !== undefined) reader.read(frames)
        }
        assert.ok((reader.text ?? '').length <= 2 ** 20, `${protocol.name} keeps ${what}`)
        assert.ok((splitter.rest()?.bytes.length ?? 0) <= 2 ** 24, `what comes in keeps ${what}`)
      }
    }
  }).timeout(30_000)
})
