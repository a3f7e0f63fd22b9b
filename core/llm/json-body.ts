// The body of a request as plugins for LLMs read it, and what APISIX says where it cannot be read (facts ai-plugins 1.3).
import type { Context } from '../context.ts'
import { GatewayError } from '../errors.ts'
import { type Reply, reply } from '../reply.ts'

/** `json` may be any value; `empty`: there is no body. */
export type JsonBody =
  | { readonly json: unknown; readonly bytes: Buffer }
  | { readonly refusal: Reply; readonly empty: boolean }

/** `tooLarge` is the status for more than `max` bytes. Rejects as `ctx.body` does for what is wrong besides. */
export async function readJsonBody({ body }: Context, max: number, tooLarge: 400 | 413): Promise<JsonBody> {
  const { known } = body
  if (known !== undefined && known.bytes.length <= max) return { json: known.value, bytes: known.bytes }
  try {
    const bytes = await body.bytes(max)
    if (bytes.length === 0) return { ...refused(400, 'could not get body: request body is empty'), empty: true }
    return { json: await body.json(max), bytes }
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    if (error.code === 'body_too_large') return refused(tooLarge, `could not get body: ${error.message}`)
    if (error.code === 'body_not_json') return refused(400, `could not parse JSON request body: ${error.message}`)
    throw error
  }
}

function refused(status: number, message: string) {
  return { refusal: reply(status, { message }), empty: false }
}
