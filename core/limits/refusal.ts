// What a client is told that a limit turns away, or that cannot be counted (facts core 8.3.6); knows no limit.
import type { Context } from '../context.ts'
import { errorReply, GatewayError } from '../errors.ts'
import type { Env } from '../plugin.ts'
import { type Reply, reply } from '../reply.ts'

/** `{"error_msg"}` where the config has a message, else the gateway's own error. */
export function refusal(ctx: Context, status: number, message: string | undefined): Reply {
  if (message !== undefined) return reply(status, { error_msg: message })
  return errorReply(new GatewayError(status, 'limited', 'too many requests'), ctx.request.headers.get('accept'))
}

/** What becomes of a request that `plugin` cannot count: it passes or is answered 500, and the log says why. */
export function uncounted(
  { log }: Pick<Env, 'log'>,
  { plugin, what, passes }: { plugin: string; what: string; passes: boolean },
): (ctx: Context, reason: string) => Reply | undefined {
  return (ctx, reason) => {
    log.warn({ plugin, route: ctx.route?.id, request_id: ctx.id, reason }, 'a request was not counted')
    return passes ? undefined : reply(500, { error_msg: `failed to limit ${what}` })
  }
}
