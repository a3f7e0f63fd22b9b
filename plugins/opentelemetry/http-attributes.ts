// What spans say of a request and of an attempt: APISIX's attributes and those of the HTTP conventions; no credential.
import type { Attempt, Context } from '../../core/context.ts'
import { GatewayError } from '../../core/errors.ts'
import { loggedField } from '../../core/observe/credentials.ts'
import { loggedGetter, loggedVariable } from '../../core/observe/logged-variable.ts'
import { nodeOf } from '../../core/observe/measures.ts'
import type { Attributes } from '../../core/observe/trace/span.ts'

/** Under the names of old and of new conventions, as APISIX has them (facts core 8.3.22). */
export function serverAttributes(ctx: Context, source: string): Attributes {
  const { request, route, reply } = ctx
  const agent = request.headers.get('user-agent')
  const status = reply?.status
  const target = loggedVariable(ctx, 'request_uri')
  return [
    ['net.host.name', request.host],
    ['http.method', request.method],
    ['http.scheme', request.scheme],
    ['http.target', target],
    ['http.user_agent', agent],
    ['http.request.method', request.method],
    ['url.scheme', request.scheme],
    ['url.path', request.path],
    ['user_agent.original', agent],
    ['apisix.route_id', route?.id],
    ['apisix.route_name', route?.name],
    ['http.route', route?.matchedUri],
    ['apisix.service_id', route?.service?.id],
    ['apisix.service_name', route?.service?.name],
    ['apisix.response_source', source],
    ['http.status_code', status],
    ['http.response.status_code', status],
    // Ours: what the conventions have besides, and the id that logs know the request by.
    ['server.address', request.host],
    ['server.port', request.serverPort],
    ['client.address', request.remoteAddress],
    ['network.protocol.version', request.httpVersion],
    ['sluice.request_id', ctx.id],
    ['error.type', errorType(ctx)],
  ]
}

/** One attempt at an upstream. Not its query, in which the operator's key may stand. */
export function clientAttributes(ctx: Context, attempt: Attempt, resent: number): Attributes {
  const { outbound, request } = ctx
  const { host, port } = nodeOf(attempt.address)
  const scheme = outbound.sent?.scheme ?? 'http'
  const [path] = (outbound.target ?? request.target).split('?', 1)
  return [
    ['http.request.method', outbound.method ?? request.method],
    ['url.full', `${scheme}://${attempt.address}${path}`],
    ...attemptAttributes(attempt, resent),
    ['server.address', host],
    ['server.port', Number(port) || undefined],
  ]
}

/** What the conventions say of every attempt, whoever it was made at. */
export function attemptAttributes({ status, headerMs, fault }: Attempt, resent: number): Attributes {
  // Without a response header it is what the client was told.
  const answered = headerMs === undefined ? undefined : status
  return [
    ['http.request.resend_count', resent === 0 ? undefined : resent],
    ['http.response.status_code', answered],
    ['error.type', fault ?? ((answered ?? 0) >= 400 ? String(answered) : undefined)],
  ]
}

/** Of low cardinality: our own code for it, or the status. */
function errorType({ reply, error, ending }: Context): string | undefined {
  if (reply === undefined || (reply.status < 500 && ending !== 'broken')) return undefined
  return error instanceof GatewayError ? error.code : String(reply.status)
}

/** What the configuration asks for: variables by name, and header fields by name, or by how their names begin (`x-app-*`). */
export function extraAttributes(
  variables: readonly string[] = [],
  fields: readonly string[] = [],
): (ctx: Context) => Attributes {
  const getters = variables.map(name => [name, loggedGetter(name)] as const)
  const names = fields.map(field => field.toLowerCase())
  const exact = new Set(names.filter(name => !name.endsWith('*')))
  const prefixes = names.filter(name => name.endsWith('*')).map(name => name.slice(0, -1))
  const asked = (name: string) => exact.has(name) || prefixes.some(prefix => name.startsWith(prefix))
  return ctx => [
    ...getters.map(([name, get]) => [name, get(ctx)] as const),
    ...(names.length === 0
      ? []
      : Object.entries(ctx.request.headers.toObject())
          .filter(([name]) => asked(name))
          .map(([name, value]) => [name, loggedField(ctx, name, value)] as const)),
  ]
}
