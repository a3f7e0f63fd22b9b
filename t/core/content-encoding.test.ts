// Compressed bodies, read no further than they are wanted.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import { contentEncoding, decode } from '../../core/content-encoding.ts'

describe('a compressed body', () => {
  it('is known by its Content-Encoding', () => {
    const known = [undefined, '', 'identity', ' GZIP ', 'x-gzip', 'br', 'deflate'].map(contentEncoding)
    assert.deepEqual(known, ['identity', 'identity', 'identity', 'gzip', 'gzip', 'br', 'deflate'])
    for (const field of ['zstd', 'gzip, br', 'constructor']) assert.equal(contentEncoding(field), undefined)
  })

  for (const [encoding, compress] of [
    ['gzip', gzipSync],
    ['br', brotliCompressSync],
    ['deflate', deflateSync],
    ['deflate', deflateRawSync],
    ['identity', (bytes: Buffer) => bytes],
  ] as const) {
    const body = randomBytes(100_000)

    it(`in ${encoding} by ${compress.name} is read whole, up to a size, and as far as it came`, async () => {
      const bytes = compress(body)
      assert.deepEqual(await decode(bytes, encoding, 1 << 20), body)
      assert.deepEqual(await decode(bytes, encoding, 70_000), body.subarray(0, 70_000))
      const cut = await decode(bytes.subarray(0, 50_000), encoding, 1 << 20)
      assert.ok(cut.length > 30_000)
      assert.deepEqual(cut, body.subarray(0, cut.length))
    })
  }

  it('is not read on when there is enough of it', async () => {
    const body = randomBytes(100_000)
    const broken = Buffer.concat([gzipSync(body).subarray(0, 60_000), Buffer.alloc(40_000, 0xff)])
    assert.deepEqual(await decode(broken, 'gzip', 100), body.subarray(0, 100))
    await assert.rejects(decode(broken, 'gzip', 1 << 20))
  })
})
