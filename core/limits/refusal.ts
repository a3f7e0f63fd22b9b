// What a client is told that a limit turns away, or that cannot be counted (facts core 8.3.6); knows no limit.
import type { Context } from '../context.ts'
import { errorReply, GatewayError } from '../errors.ts'
import { type Reply, reply } from '../reply.ts'

/** `{"error_msg"}` where the config has a message, else the gateway's own error. */
export function refusal(ctx: Context, status: number, message: string | undefined): Reply {
  if (message !== undefined) return reply(status, { error_msg: message })
  return errorReply(new GatewayError(status, 'limited', 'too many requests'), ctx.request.headers.get('accept'))
}

export const uncounted = (what: string): Reply => reply(500, { error_msg: `failed to limit ${what}` })
