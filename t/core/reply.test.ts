// Replies: their fields, their bodies, and how a body is read whole.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { discard, HeaderList, isReply, readAll, reply, type Sink, type Source } from '../../core/reply.ts'

/** A source that a test pushes by hand. */
class Hand implements Source {
  sink: Sink | undefined
  cancelled: Error | undefined
  pipe(sink: Sink): void {
    this.sink = sink
  }
  pause(): void {}
  resume(): void {}
  cancel(reason: Error): void {
    this.cancelled = reason
  }
}

describe('header fields', () => {
  it('are found in any case, the first one first, and keep their order and case', () => {
    const list = new HeaderList(['X-One', '1', 'Set-Cookie', 'a', 'set-cookie', 'b'])
    assert.deepEqual([list.get('x-one'), list.get('SET-COOKIE'), list.get('x-on')], ['1', 'a', undefined])
    assert.deepEqual(list.all('Set-Cookie'), ['a', 'b'])
    assert.deepEqual(
      [...list],
      [
        ['X-One', '1'],
        ['Set-Cookie', 'a'],
        ['set-cookie', 'b'],
      ],
    )
    assert.deepEqual({ ...list.toObject() }, { 'x-one': '1', 'set-cookie': 'a, b' })
  })

  it('are copied by clone', () => {
    const list = new HeaderList(['A', '1'])
    const copy = list.clone()
    copy.set('A', '2')
    assert.deepEqual([list.get('a'), copy.get('a')], ['1', '2'])
  })

  it('in an object are nobody’s properties', () => {
    const object = new HeaderList(['__proto__', 'x', 'constructor', 'y']).toObject()
    assert.equal(Object.getPrototypeOf(object), null)
    assert.deepEqual(Object.entries(object), [
      ['__proto__', 'x'],
      ['constructor', 'y'],
    ])
  })

  it('are what a list of pairs would be after any changes', () => {
    const name = fc.constantFrom('A', 'a', 'B', 'b', 'C', 'Ab')
    const value = fc.constantFrom('1', '2', 'a')
    const change = fc.record({ does: fc.constantFrom('set', 'append', 'delete'), name, value })
    fc.assert(
      fc.property(fc.array(change, { maxLength: 30 }), changes => {
        const list = new HeaderList()
        let model: [string, string][] = []
        const same = (a: string, b: string) => a.toLowerCase() === b.toLowerCase()
        for (const each of changes) {
          if (each.does === 'append') {
            list.append(each.name, each.value)
            model.push([each.name, each.value])
          } else if (each.does === 'delete') {
            list.delete(each.name)
            model = model.filter(([known]) => !same(known, each.name))
          } else {
            list.set(each.name, each.value)
            const first = model.findIndex(([known]) => same(known, each.name))
            if (first < 0) model.push([each.name, each.value])
            else model[first] = [each.name, each.value]
            model = model.filter(([known], at) => at === first || !same(known, each.name) || first < 0)
          }
          assert.deepEqual([...list], model)
        }
        for (const asked of ['a', 'B', 'c', 'AB']) {
          const values = model.filter(([known]) => same(known, asked)).map(([, known]) => known)
          assert.deepEqual([list.all(asked), list.get(asked), list.has(asked)], [values, values[0], values.length > 0])
        }
      }),
      { numRuns: 300, seed: 20_261_120 },
    )
  })
})

describe('a reply', () => {
  it('sends an object as JSON with a newline, a string as it is, both as text unless it says otherwise', () => {
    const object = reply(403, { message: 'nö' })
    assert.deepEqual(
      [String(object.body), object.headers.get('content-type')],
      ['{"message":"nö"}\n', 'text/plain; charset=utf-8'],
    )
    const text = reply(200, 'plain', { 'content-type': 'text/x' })
    assert.deepEqual([String(text.body), text.headers.all('Content-Type')], ['plain', ['text/x']])
    assert.deepEqual([reply(204).body, reply(204, null).headers.raw], [null, []])
  })

  it('is told from anything else that a hook may return', () => {
    assert.ok(isReply(reply(200)) && isReply(reply(200, 'x')) && isReply({ ...reply(200), body: new Hand() }))
    for (const other of [
      true,
      null,
      401,
      'no',
      {},
      { status: 401 },
      { ...reply(200), status: '200' },
      { ...reply(200), headers: {} },
      { ...reply(200), body: 'text' },
    ]) {
      assert.ok(!isReply(other), JSON.stringify(other))
    }
  })

  it('that nobody sends lets go of its source', () => {
    const body = new Hand()
    discard({ ...reply(200), body }, new Error('unsent'))
    assert.equal(body.cancelled?.message, 'unsent')
    discard(reply(200, 'bytes'), new Error('unsent'))
    discard(reply(200), new Error('unsent'))
  })
})

describe('a body that is read whole', () => {
  const tooLarge = () => new Error('too large')

  it('is all of its pieces', async () => {
    for (const pieces of [[], ['one'], ['one', 'two']]) {
      const source = new Hand()
      const read = readAll(source, 6, tooLarge)
      for (const piece of pieces) source.sink!.write(Buffer.from(piece))
      source.sink!.end()
      assert.equal(String(await read), pieces.join(''))
    }
  })

  it('beyond its bound is given up at once, and the upstream told', async () => {
    const source = new Hand()
    const read = readAll(source, 5, tooLarge)
    source.sink!.write(Buffer.from('one'))
    assert.ok(source.cancelled === undefined)
    source.sink!.write(Buffer.from('two'))
    assert.match(String(source.cancelled), /too large/)
    await assert.rejects(read, /too large/)
  })

  it('that breaks is none', async () => {
    const source = new Hand()
    const read = readAll(source, 5, tooLarge)
    source.sink!.write(Buffer.from('one'))
    source.sink!.fail(new Error('cut'))
    await assert.rejects(read, /cut/)
  })
})
