// key-auth: a consumer is known by an API key in a header or a query argument (facts core 8.3.1).
import type { Consumer, Context } from '../core/context.ts'
import { markCredentials } from '../core/observe/credentials.ts'
import { plugin } from '../core/plugin.ts'
import { type Reply, reply } from '../core/reply.ts'

export default plugin({
  name: 'key-auth',
  priority: 2500,
  version: 0.1,
  type: 'auth',
  schema: {
    type: 'object',
    properties: {
      header: { type: 'string', default: 'apikey' },
      query: { type: 'string', default: 'apikey' },
      hide_credentials: { type: 'boolean', default: false },
      realm: { type: 'string', minLength: 1, maxLength: 128, pattern: '^[ -!#-[\\]-~]+$', default: 'key' },
      anonymous_consumer: { type: 'string', minLength: 1 },
    },
  },
  consumer: {
    type: 'object',
    properties: { key: { type: 'string' } },
    required: ['key'],
  },
  credential: config => config.key,
  carriers: ({ header, query }) => [header, query],
  encrypt: ['key'],
  setup: ({ header, query, hide_credentials, realm, anonymous_consumer }) => {
    const secrets = new Set([header.toLowerCase(), query.toLowerCase()])
    const refuse = (message: string): Reply =>
      reply(401, { message }, { 'WWW-Authenticate': `apikey realm="${realm}"` })

    function identify(ctx: Context): Consumer | Reply {
      markCredentials(ctx, secrets)
      const { request } = ctx
      const inHeader = request.headers.get(header)
      const key = inHeader ?? request.query(query)
      if (key === undefined) return refuse('Missing API key in request')
      if (hide_credentials) {
        if (inHeader === undefined) ctx.outbound.target = withoutArgument(ctx.outbound.target ?? request.target, query)
        else request.headers.delete(header)
      }
      return ctx.consumers.find('key-auth', key) ?? refuse('Invalid API key in request')
    }

    return {
      rewrite: ctx => {
        let found = identify(ctx)
        if (isReply(found) && anonymous_consumer !== undefined)
          found = ctx.consumers.named(anonymous_consumer) ?? reply(401, { message: 'Invalid user authorization' })
        if (isReply(found)) return found
        ctx.identify(found)
        return undefined
      },
    }
  },
})

function isReply(found: Consumer | Reply): found is Reply {
  return 'status' in found
}

/** The other arguments stay byte for byte as the client wrote them. */
function withoutArgument(target: string, name: string): string {
  const question = target.indexOf('?')
  if (question < 0) return target
  const kept = target
    .slice(question + 1)
    .split('&')
    .filter(pair => !new URLSearchParams(pair).has(name))
    .join('&')
  return target.slice(0, question) + (kept === '' ? '' : `?${kept}`)
}
