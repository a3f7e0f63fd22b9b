// The ring of records against a list that forgets nothing: the last ones are there as written, whatever their sizes.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { MAX_RECORD } from '../../../core/explain/record.ts'
import { MIN_RING, RecordRing } from '../../../core/explain/record-ring.ts'

interface Written {
  id: string
  fill: number
}

const readBack = (ring: RecordRing, id: string): Written | undefined => {
  const reader = ring.last(Buffer.from(id))
  return reader && { id: reader.text()!, fill: reader.list(each => each.byte()).length * 32 + reader.byte() }
}

function write(ring: RecordRing, written: Written): void {
  ring.add(written, (to, { id, fill }) => {
    to.text(id)
    to.list(Array.from({ length: fill >> 5 }), 255, each => {
      each.byte(7)
      for (let more = 1; more < 30; more++) each.byte(0)
    })
    to.byte(fill & 31)
  })
}

describe('a ring of records', () => {
  it('has the last records as they were written, however long they are', () => {
    const texts = fc.oneof(fc.string({ maxLength: 60 }), fc.string({ unit: 'grapheme', maxLength: 60 }))
    fc.assert(
      fc.property(fc.array(fc.tuple(texts, texts), { minLength: 1, maxLength: 400 }), all => {
        const ring = new RecordRing(MIN_RING)
        const bytes = (text: string) => Buffer.from(text).subarray(0, 254)
        let size = 0
        const newest: [string, string][] = []
        for (const [at, [id, text]] of all.entries()) {
          const named = `${at} ${id}`
          ring.add(text, (to, each) => {
            to.text(named)
            to.text(each)
          })
          newest.push([named, text])
        }
        // What surely fits: half of the ring, less what is kept free for the next.
        for (const [id, text] of newest.reverse()) {
          size += 4 + bytes(id).length + bytes(text).length
          if (size > MIN_RING - 2 * MAX_RECORD) break
          const reader = ring.last(Buffer.from(id))
          assert.equal(reader?.text(), id)
          assert.equal(reader?.text(), text)
        }
        assert.equal(ring.last(Buffer.from('no such id')), undefined)
      }),
      { numRuns: 100, seed: 11 },
    )
  })

  it('forgets the oldest and never says what was not written', () => {
    const ring = new RecordRing(MIN_RING)
    const all: Written[] = []
    for (let at = 0; at < 3_000; at++) {
      const written = { id: `id ${at}`, fill: (at * 37) % 4_000 }
      all.push(written)
      write(ring, written)
      const oldest = all[Math.max(0, at - ring.count)]!
      assert.deepEqual(readBack(ring, written.id)?.id, written.id)
      if (ring.count <= at) assert.equal(readBack(ring, oldest.id), undefined, oldest.id)
    }
    assert.ok(ring.count > 3 && ring.count < 3_000, String(ring.count))
    assert.equal(readBack(ring, 'id 0'), undefined)
  })

  it('finds the last of several with one id', () => {
    const ring = new RecordRing(MIN_RING)
    for (const fill of [1, 2, 3]) write(ring, { id: 'same', fill })
    assert.equal(readBack(ring, 'same')?.fill, 3)
  })

  it('cuts a list for which there is no room, and says so', () => {
    const ring = new RecordRing(MIN_RING)
    let isCut = false
    ring.add('x'.repeat(300), (to, text) => {
      to.text('long')
      to.list(
        Array.from({ length: 200 }, () => text),
        255,
        (each, long) => each.text(long),
      )
      isCut = to.isCut
      assert.ok(to.at < MAX_RECORD)
    })
    assert.ok(isCut)
    const reader = ring.last(Buffer.from('long'))!
    reader.text()
    const texts = reader.list(each => each.text()!.length)
    assert.deepEqual(new Set(texts), new Set([254]))
  })
})
