// The body of a call to an LLM as it is now, read and understood; knows no protocol.
import type { Context } from '../context.ts'
import { isObject, type JsonObject } from './json.ts'

/** `json` is undefined for what is no object. */
export interface ClientBody {
  readonly json: JsonObject | undefined
  readonly bytes: Buffer
}

/** At once where somebody has read it before; plugins may have put another in its place since. Rejects as `ctx.body` does. */
export function clientBody({ body }: Pick<Context, 'body'>): ClientBody | Promise<ClientBody> {
  const { known } = body
  return known === undefined ? read(body) : understood(known.value, known.bytes)
}

async function read(body: Context['body']): Promise<ClientBody> {
  const bytes = await body.bytes(Number.POSITIVE_INFINITY)
  return understood(bytes.length === 0 ? undefined : await body.json(Number.POSITIVE_INFINITY), bytes)
}

function understood(json: unknown, bytes: Buffer): ClientBody {
  return { json: isObject(json) ? json : undefined, bytes }
}
