// The body of an answer that is no stream: read to its end and uncompressed, within a limit; knows no protocol.
import { UpstreamError } from '../errors.ts'
import type { Answer } from '../proxy/transport.ts'
import { readAll } from '../reply.ts'
import { decodeContent, isEncoded } from './content-coding.ts'

/** At most `max` bytes, compressed or not. Throws what `tooLarge` makes, or UpstreamError. `came` hears how many are held. */
export async function wholeBody(
  { headers, body }: Answer,
  { max, tooLarge, came }: { max: number; tooLarge(): Error; came(bytes: number): void },
): Promise<Buffer> {
  body.contentSeen()
  if (Number(headers.get('content-length')) > max) {
    const error = tooLarge()
    body.cancel(error)
    throw error
  }
  const raw = body.whole() ?? (await readAll(body, max, tooLarge))
  if (raw.length > max) throw tooLarge()
  came(raw.length)
  const coding = headers.get('content-encoding')
  if (!isEncoded(coding)) return raw
  try {
    return await decodeContent(raw, coding, max)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge()
    throw new UpstreamError('malformed', 'the answer could not be decompressed', { cause })
  }
}

/** What a body says as JSON; undefined when it is none. */
export function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    return undefined
  }
}
