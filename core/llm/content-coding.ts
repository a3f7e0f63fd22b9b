// Undoes the compression of a whole answer: we never ask for any, but some providers compress anyway.
import { promisify } from 'node:util'
import { brotliDecompress, gunzip, inflate, zstdDecompress } from 'node:zlib'

const decoders: Readonly<Record<string, (bytes: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>>> = {
  gzip: promisify(gunzip),
  'x-gzip': promisify(gunzip),
  deflate: promisify(inflate),
  br: promisify(brotliDecompress),
  zstd: promisify(zstdDecompress),
}

/** The body without its Content-Encoding, at most `max` bytes of it. Throws for an unknown coding and broken data. */
export async function decodeContent(bytes: Buffer, coding: string | undefined, max: number): Promise<Buffer> {
  if (!isEncoded(coding) || bytes.length === 0) return bytes
  const name = coding!.trim().toLowerCase()
  const decode = Object.hasOwn(decoders, name) ? decoders[name] : undefined
  if (decode === undefined) throw new Error('unknown content coding')
  return await decode(bytes, { maxOutputLength: max })
}

/** Whether a Content-Encoding says that the body is not as it is. */
export function isEncoded(coding: string | undefined): boolean {
  return coding !== undefined && coding.trim() !== '' && coding.trim().toLowerCase() !== 'identity'
}
