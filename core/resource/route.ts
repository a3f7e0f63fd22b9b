// Routes (facts core 3.1): schema, type, and what a schema cannot say (2.7).
import { asError } from '../errors.ts'
import { namesIn, sourceProblem } from '../javascript/source.ts'
import type { Schema } from '../plugin.ts'
import { addressSet } from '../router/addresses.ts'
import { checkExpr, compileExpr } from '../router/expr.ts'
import {
  address,
  type Described,
  described,
  host,
  id,
  methods,
  type Plugins,
  plugins,
  type Timeout,
  timeout,
} from './attributes.ts'
import type { Definition } from './definition.ts'
import { notServed, unserved } from './unserved.ts'
import { type Upstream, upstreamSchema } from './upstream.ts'

/** A route as the data plane uses it: defaults filled, ids as strings. It has `uri` or `uris`. */
export interface Route extends Described {
  uri?: string
  uris?: string[]
  priority: number
  /** Absent or empty: all. */
  methods?: string[]
  host?: string
  hosts?: string[]
  remote_addr?: string
  remote_addrs?: string[]
  /** Wins over the upstream's. */
  timeout?: Timeout
  /** An expression (facts core 2.6). */
  vars?: unknown[]
  /** The text of a function of variables. */
  filter_func?: string
  plugins?: Plugins
  upstream?: Upstream
  upstream_id?: string
  service_id?: string
  plugin_config_id?: string
  status: 0 | 1
}

const list = (items: Schema): Schema => ({ type: 'array', minItems: 1, uniqueItems: true, items })
const uri = { type: 'string', minLength: 1, maxLength: 4096 } as const

const atMostOne = (one: string, many: string): Schema => ({
  oneOf: [{ not: { anyOf: [{ required: [one] }, { required: [many] }] } }, { required: [one] }, { required: [many] }],
})

/** Who can answer, with where: one of each. */
const answers = ['plugins', 'upstream', 'upstream_id', 'service_id', 'script']

const schema: Schema = {
  type: 'object',
  properties: {
    ...described,
    uri,
    uris: list(uri),
    priority: { type: 'integer', default: 0 },
    methods: { type: 'array', uniqueItems: true, items: { type: 'string', enum: methods } },
    host,
    hosts: list(host),
    remote_addr: address,
    remote_addrs: list(address),
    timeout,
    vars: { type: 'array' },
    filter_func: { type: 'string', minLength: 10, pattern: '^function' },
    script: { type: 'string', minLength: 10, maxLength: 102400 },
    script_id: id,
    plugins,
    plugin_config_id: id,
    upstream: upstreamSchema,
    upstream_id: id,
    service_id: id,
    enable_websocket: { type: 'boolean' },
    status: { type: 'integer', enum: [1, 0], default: 1 },
  },
  allOf: [
    { oneOf: [{ required: ['uri'] }, { required: ['uris'] }] },
    atMostOne('host', 'hosts'),
    atMostOne('remote_addr', 'remote_addrs'),
  ],
  anyOf: ['uri', 'uris'].flatMap(where => answers.map(answer => ({ required: [answer, where] }))),
  not: { anyOf: [{ required: ['script', 'plugins'] }, { required: ['script', 'plugin_config_id'] }] },
  additionalProperties: false,
}

export const route: Definition = { schema, exclusion, problem, unserved: routeUnserved }

/** Of which the schema would only say that none or several match. */
function exclusion(route: Readonly<Record<string, unknown>>): string | undefined {
  if (route.host !== undefined && route.hosts !== undefined) return 'only one of host or hosts is allowed'
  if (route.remote_addr !== undefined && route.remote_addrs !== undefined) {
    return 'only one of remote_addr or remote_addrs is allowed'
  }
  return undefined
}

function problem({ remote_addr, remote_addrs = [], vars, filter_func: source }: Partial<Route>): string | undefined {
  try {
    addressSet(remote_addr === undefined ? remote_addrs : [remote_addr])
  } catch (error) {
    return asError(error).message
  }
  const unusable = source && sourceProblem(source, "function(vars) { return vars.arg_version === '2' }")
  if (unusable) return `failed to load 'filter_func' string: it ${unusable}`
  const invalid = vars === undefined ? undefined : checkExpr(vars)
  return invalid && `failed to validate the 'vars' expression: ${invalid}`
}

function routeUnserved(route: Readonly<Record<string, unknown>>): string | undefined {
  const refused = unserved(route, ['script', 'script_id'], '')
  if (refused !== undefined) return refused
  if (route.enable_websocket === true) return notServed('enable_websocket')
  const graphql = (names: Iterable<string>) => [...names].find(name => name.startsWith('graphql_'))
  const asked = route.vars && graphql(compileExpr(route.vars).names)
  if (asked) return notServed(`${asked} in vars`)
  const named = route.filter_func && graphql(namesIn(route.filter_func as string))
  return named ? notServed(`${named} in filter_func`) : undefined
}
