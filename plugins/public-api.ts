// public-api: a route that answers with what a plugin answers itself (facts core 8.3.31); there is no other way to reach it.
import { endpointKey } from '../core/endpoints.ts'
import { GatewayError } from '../core/errors.ts'
import { plugin } from '../core/plugin.ts'

export default plugin({
  name: 'public-api',
  priority: 501,
  version: 0.1,
  schema: { type: 'object', properties: { uri: { type: 'string' } } },
  setup: ({ uri }, env) => ({
    access(ctx) {
      const { method, path } = ctx.request
      const endpoint = env.endpoints?.get(endpointKey(method, uri ?? path))
      if (endpoint === undefined) throw new GatewayError(404, 'endpoint_not_found', '404 Not Found')
      return endpoint.answer(ctx, env)
    },
  }),
})
