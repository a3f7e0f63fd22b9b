// AWS's event stream: the frames that AWS publishes with its SDKs, cut anywhere, broken in every way.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import {
  AwsSplitter,
  awsEventStream,
  encodeMessage,
  type HeaderValue,
  parseMessage,
} from '../../../../core/llm/framing/aws-event-stream.ts'

/** The frames that a splitter finds in `reads`. */
function split(reads: readonly Buffer[]) {
  const splitter = new AwsSplitter()
  const frames: Buffer[] = []
  for (const read of reads) {
    const { bytes, ends } = splitter.feed(read) ?? { bytes: read, ends: [] }
    for (const [at, end] of ends.entries()) frames.push(bytes.subarray(ends[at - 1] ?? 0, end))
  }
  return { frames, partial: splitter.partial, lost: splitter.lost }
}

function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [...new Set(places.map(place => place % (bytes.length + 1)))].sort((a, b) => a - b)
  return [0, ...at].map((from, index) => bytes.subarray(from, at[index] ?? bytes.length))
}

// Test vectors of botocore's and of the AWS SDKs: prelude, headers, payload and checksum, as hex and text.
const vectors: [string, Buffer, Record<string, HeaderValue>, string][] = [
  ['nothing', frame('00000010 00000000 05c248eb', '7d98c8ff'), {}, ''],
  ['a byte', frame('00000017 00000007 29860158', "'\\x04byte' 02ff", 'c2f869dc'), { byte: -1 }, ''],
  ['a short', frame('00000019 00000009 710e923e', "'\\x05short' 03ffff", 'b27cb6cc'), { short: -1 }, ''],
  ['an integer', frame('0000001d 0000000d 83e3f0e7', "'\\x07integer' 04ffffffff", '8b8e12eb'), { integer: -1 }, ''],
  ['a long', frame('0000001e 0000000e 5d4adb8d', "'\\x04long' 05ffffffffffffffff", '4bc232da'), { long: -1n }, ''],
  ['only a payload', frame('0000001d 00000000 fd528c5a', `"{'foo':'bar'}"`, 'c3653936'), {}, "{'foo':'bar'}"],
  [
    'text and a payload',
    frame('0000003d 00000020 07fd8396', `'\\x0ccontent-type' 070010 'application/json' "{'foo':'bar'}"`, '8d9c08b1'),
    { 'content-type': 'application/json' },
    "{'foo':'bar'}",
  ],
  [
    'every type of header',
    frame(
      '00000062 00000052 03b5cb9c',
      "013000 013101 01320202 0133030003 01340400000004 0135050000000000000005 '\\x016' 060005 'bytes'",
      "'\\x017' 070004 'utf8' 0138080000000000000008 013909 '0123456789abcdef'",
      '63353671',
    ),
    {
      ...{ 0: true, 1: false, 2: 2, 3: 3, 4: 4, 5: 5n, 6: Buffer.from('bytes'), 7: 'utf8', 8: 8n },
      9: Buffer.from('0123456789abcdef'),
    },
    '',
  ],
  [
    'an error',
    frame(
      '00000052 00000042 bf23637e',
      "'\\x0d:message-type' 070005 'error' '\\x0b:error-code' 070004 'code' '\\x0e:error-message' 070007 'message'",
      '6b6cea3d',
    ),
    { ':message-type': 'error', ':error-code': 'code', ':error-message': 'message' },
    '',
  ],
]

/** Bytes of hex, and of text in quotes, in which \x.. is a byte. */
function frame(...parts: string[]): Buffer {
  const pieces = parts.join(' ').match(/'(?:\\x..)?[^']*'|"[^"]*"|[0-9a-f]+/g)!
  return Buffer.concat(
    pieces.map(piece => {
      if (!/^['"]/.test(piece)) return Buffer.from(piece, 'hex')
      return Buffer.from(
        piece.slice(1, -1).replace(/\\x(..)/g, (_, hex: string) => String.fromCharCode(Number(`0x${hex}`))),
      )
    }),
  )
}

const all = Buffer.concat(vectors.map(([, bytes]) => bytes))

describe('an event stream of AWS', () => {
  for (const [what, bytes, headers, payload] of vectors) {
    it(`may carry ${what}`, () => {
      const { frames, partial } = split([bytes])
      assert.deepEqual([frames.length, partial], [1, false])
      const message = parseMessage(frames[0]!)!
      assert.deepEqual(Object.fromEntries(message.headers), headers)
      assert.equal(message.payload.toString(), payload)
    })
  }

  it('has the same frames however it is cut', () => {
    const wanted = vectors.map(([, bytes]) => bytes.toString('hex'))
    const found = (reads: readonly Buffer[]) => split(reads).frames.map(bytes => bytes.toString('hex'))
    fc.assert(
      fc.property(fc.array(fc.nat(all.length), { maxLength: 40 }), places => {
        assert.deepEqual(found(cut(all, places)), wanted)
      }),
      { numRuns: 300 },
    )
    assert.deepEqual(found(Array.from(all, (_, at) => all.subarray(at, at + 1))), wanted)
  })

  it('keeps the frames it has given when more comes', () => {
    const [half, rest] = [all.subarray(0, 20), all.subarray(20)]
    const splitter = new AwsSplitter()
    const first = splitter.feed(half)!.bytes.subarray(0, 16)
    splitter.feed(rest.subarray(0, 40))
    splitter.feed(Buffer.alloc(64, 1))
    assert.deepEqual(first, vectors[0]![1])
  })

  it('is written as it is read', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'é', '—', '😀', ':', '\u0000'), maxLength: 40 })
    fc.assert(
      fc.property(fc.dictionary(text, text, { maxKeys: 5 }), fc.uint8Array({ maxLength: 200 }), (headers, payload) => {
        const bytes = encodeMessage(headers, Buffer.from(payload))
        const { frames, lost } = split([bytes, bytes])
        assert.deepEqual([frames.length, lost], [2, false])
        const message = parseMessage(frames[1]!)!
        assert.deepEqual(Object.fromEntries(message.headers), { ...headers })
        assert.deepEqual(message.payload, Buffer.from(payload))
      }),
    )
    const [, bytes] = vectors[6]!
    assert.deepEqual(encodeMessage({ 'content-type': 'application/json' }, Buffer.from("{'foo':'bar'}")), bytes)
  })

  describe('is lost', () => {
    const good = vectors[6]![1]
    const broken = (at: number, value: number) => {
      const bytes = Buffer.from(good)
      bytes[at] = value
      return bytes
    }
    const cases: [string, Buffer][] = [
      ['with a length that is too large', broken(0, 1)],
      ['with a length that its checksum does not know', broken(2, 1)],
      ['with headers longer than the frame', broken(4, 0xff)],
      ['with a header that is another', broken(20, 0x2b)],
      ['with a payload that is another', broken(good.length - 6, 0x8d)],
      ['with a length below the smallest', Buffer.alloc(16)],
      ['with what is no frame at all', Buffer.from('data: {"choices":[]}\n\n')],
    ]
    for (const [why, bytes] of cases) {
      it(why, () => {
        for (const reads of [[bytes], Array.from(bytes, (_, at) => bytes.subarray(at, at + 1))]) {
          const { frames, lost } = split([good, ...reads, good])
          assert.deepEqual([frames.length, lost], [1, true])
        }
      })
    }
  })

  it('whose frame claims more than 16 MiB is lost before that is kept', () => {
    const claim = Buffer.from('01000001 00000000'.replaceAll(' ', ''), 'hex')
    assert.equal(split([claim, Buffer.alloc(4)]).lost, true)
  })

  it('of random bytes is never read as more than it is', () => {
    for (let round = 0; round < 200; round++) {
      const bytes = randomBytes(64)
      const { frames } = split([bytes])
      assert.deepEqual(frames, [])
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), headers => {
        const head = Buffer.alloc(12)
        head.writeUInt32BE(headers.length, 4)
        // Whatever they hold, they are read to their end or not at all.
        parseMessage(Buffer.concat([head, headers, Buffer.alloc(4)]))
      }),
      { numRuns: 500 },
    )
  })

  it('says the same with other data, under all its headers', () => {
    for (const [, bytes, headers] of vectors) {
      const written = awsEventStream.rewrite(bytes, 'é')
      const { frames, lost } = split([written])
      assert.equal(lost, false)
      const message = parseMessage(frames[0]!)!
      assert.deepEqual([Object.fromEntries(message.headers), message.payload.toString()], [headers, 'é'])
    }
    const said = (headers: Record<string, string>) => awsEventStream.read(encodeMessage(headers, Buffer.from('{}')))
    assert.deepEqual(said({ ':event-type': 'messageStop', ':message-type': 'event' }), {
      type: 'messageStop',
      data: '{}',
    })
    assert.deepEqual(said({ ':exception-type': 'x' }), { type: 'x', data: '{}' })
    assert.deepEqual(said({}), { type: 'message', data: '{}' })
    assert.equal(awsEventStream.read(Buffer.alloc(3)), undefined)
  })

  it('has no message where a header is there twice', () => {
    const twice = frame('00000024 00000014 4bb982d0', "'\\x04test' 04 'asdf' '\\x04test' 04 'asdf'", 'f3f47563')
    assert.equal(parseMessage(split([twice]).frames[0]!), undefined)
  })
})
