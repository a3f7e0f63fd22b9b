// Compressed bodies made readable, up to a size; knows no request.
import {
  constants,
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createInflateRaw,
  type ZlibOptions,
} from 'node:zlib'

export type ContentEncoding = 'identity' | 'gzip' | 'br' | 'deflate'

const NAMES: Readonly<Record<string, ContentEncoding>> = {
  '': 'identity',
  identity: 'identity',
  gzip: 'gzip',
  'x-gzip': 'gzip',
  br: 'br',
  deflate: 'deflate',
}

/** What a Content-Encoding field means; undefined for a coding, or a list of them, that we do not read. */
export function contentEncoding(field: string | undefined): ContentEncoding | undefined {
  const name = (field ?? '').trim().toLowerCase()
  return Object.hasOwn(NAMES, name) ? NAMES[name] : undefined
}

// A body that was cut gives what it holds instead of an error.
const tolerant: ZlibOptions = { finishFlush: constants.Z_SYNC_FLUSH }

/**
 * The first `max` bytes of what `bytes` hold. Decompression stops there, so that a small body cannot become a huge one.
 * Rejects with zlib's error when the bytes are not of that encoding.
 */
export function decode(bytes: Buffer, encoding: ContentEncoding, max: number): Promise<Buffer> {
  if (encoding === 'identity' || bytes.length === 0) return Promise.resolve(bytes.subarray(0, max))
  return new Promise((resolve, reject) => {
    const decoder = decoderOf(encoding, bytes)
    const chunks: Buffer[] = []
    let size = 0
    const finish = () => resolve(Buffer.concat(chunks, Math.min(size, max)))
    decoder
      .on('data', (chunk: Buffer) => {
        chunks.push(chunk)
        size += chunk.length
        if (size < max) return
        finish()
        decoder.destroy()
      })
      .on('end', finish)
      .on('error', reject)
    decoder.end(bytes)
  })
}

function decoderOf(encoding: Exclude<ContentEncoding, 'identity'>, bytes: Buffer) {
  if (encoding === 'br') return createBrotliDecompress({ finishFlush: constants.BROTLI_OPERATION_FLUSH })
  if (encoding === 'gzip') return createGunzip(tolerant)
  // `deflate` should have zlib's head (RFC 9110 8.4.1.2), but some send it bare; CM 8 is in the low bits of the head.
  return (bytes[0]! & 0x0f) === 8 ? createInflate(tolerant) : createInflateRaw(tolerant)
}
