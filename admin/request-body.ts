// The body of a request, read within a bound, and JSON if it should be; knows nothing of what it says.
import type { IncomingMessage } from 'node:http'
import { asError } from '../core/errors.ts'
import { shapeProblem } from '../core/schema.ts'
import { Refused, refuse } from './answer.ts'

/** etcd's own limit of a request (facts core 4.1). */
export const maxBodyBytes = 1_572_864

/** What is read and thrown away of a body over the limit, so that its sender can hear the answer. */
const patience = 15 * maxBodyBytes

/** The parsed body; undefined when it is empty or `null`. Throws 400 when it is too long or not JSON. */
export async function readJson(message: IncomingMessage): Promise<unknown> {
  const text = await readText(message, maxBodyBytes)
  if (text === '') return undefined
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new Refused(400, { error_msg: invalid(asError(error).message), req_body: text })
  }
  const unfit = shapeProblem(value)
  if (unfit !== undefined) throw refuse(400, invalid(unfit))
  return value ?? undefined
}

/** The text of a body; empty when there is none. Throws 400 when it is longer, or not UTF-8. */
export async function readText(message: IncomingMessage, maxBytes: number): Promise<string> {
  return decode(await readBytes(message, maxBytes))
}

async function readBytes(message: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of message as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size <= maxBytes) chunks.push(chunk)
    else chunks.length = 0
    if (size > maxBytes + patience) break
  }
  if (size > maxBytes) {
    throw refuse(400, invalid(`request size ${size} is greater than the maximum size ${maxBytes} allowed`))
  }
  return Buffer.concat(chunks)
}

function decode(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw refuse(400, invalid('not UTF-8'))
  }
}

function invalid(reason: string): string {
  return `invalid request body: ${reason}`
}
