// Resources: whether one can be served, and what the data plane makes of it; knows nothing of other resources and of stores.
import type { Plugin, Schema } from './plugin.ts'
import type { Plugins } from './resource/attributes.ts'
import { type Consumer, consumerSchema } from './resource/consumer.ts'
import { type GlobalRule, globalRuleSchema } from './resource/global-rule.ts'
import { fillPlugin, pluginsProblem, pluginsWarnings } from './resource/plugin-configs.ts'
import { type Route, routeExclusions, routeProblem, routeSchema } from './resource/route.ts'
import { type Service, serviceProblem, serviceSchema } from './resource/service.ts'
import { notServed } from './resource/unserved.ts'
import {
  normaliseNodes,
  type Upstream,
  upstreamProblem,
  upstreamSchema,
  upstreamWarnings,
} from './resource/upstream.ts'
import { isObject, shapeProblem, type Validator, validator } from './schema.ts'
import type { Kind } from './store/store.ts'

export type { Consumer, GlobalRule, Plugins, Route, Service, Upstream }
export { fillPlugin }

/** What the data plane gets of each kind that is served. */
export interface Resources {
  routes: Route
  services: Service
  upstreams: Upstream
  consumers: Consumer
  global_rules: GlobalRule
}
export type ServedKind = keyof Resources

export const resourceSchemas: Readonly<Record<ServedKind, Schema>> = {
  routes: routeSchema,
  services: serviceSchema,
  upstreams: upstreamSchema,
  consumers: consumerSchema,
  global_rules: globalRuleSchema,
}

/** Nothing resolves references outside of plugin configs, so there they are strings like any other. */
const literal = <T>(schema: Schema) => validator<T>(schema, { references: false })

const validators: { readonly [K in ServedKind]: Validator<Resources[K]> } = {
  routes: literal(routeSchema),
  services: literal(serviceSchema),
  upstreams: literal(upstreamSchema),
  consumers: literal(consumerSchema),
  global_rules: literal(globalRuleSchema),
}

export function isServed(kind: string): kind is ServedKind {
  return Object.hasOwn(resourceSchemas, kind)
}

/** What its schema says of a value, without a word in front. */
export function checkSchema(kind: ServedKind, value: unknown): string | undefined {
  return validators[kind].check(value)
}

/**
 * The first thing that is wrong with an item as far as it can be said without looking at others, in the words of the
 * admin API's `error_msg` (facts core 2.7, 3, 4.8); undefined when it can be served. Encrypted values come in clear.
 */
export function checkResource(kind: Kind, value: unknown, plugins: ReadonlyMap<string, Plugin>): string | undefined {
  if (!isServed(kind)) return notServed(kind)
  const unfit = shapeProblem(value)
  if (unfit !== undefined) return `invalid configuration: ${unfit}`
  const excluded = kind === 'routes' && isObject(value) ? routeExclusions(value) : undefined
  if (excluded !== undefined) return excluded
  const invalid = checkSchema(kind, value)
  if (invalid !== undefined) return `invalid configuration: ${invalid}`
  const resource: Record<string, unknown> = { ...validators[kind].fill(value) }
  return ownProblem(kind, resource) ?? embeddedProblem(kind, resource, plugins)
}

function ownProblem(kind: ServedKind, resource: Record<string, unknown>): string | undefined {
  switch (kind) {
    case 'routes':
      return routeProblem(resource)
    case 'services':
      return serviceProblem(resource)
    case 'upstreams':
      return upstreamProblem(resource, '')
    case 'consumers':
      return resource.group_id === undefined ? undefined : notServed('group_id')
    case 'global_rules':
      return undefined
  }
}

function embeddedProblem(
  kind: ServedKind,
  { upstream, plugins: configs }: Record<string, unknown>,
  plugins: ReadonlyMap<string, Plugin>,
): string | undefined {
  const bad = isObject(upstream) ? upstreamProblem(upstream, 'upstream.') : undefined
  if (bad !== undefined) return bad
  const wrong = pluginsProblem((configs ?? {}) as Plugins, kind, plugins)
  return wrong && (kind === 'consumers' ? `invalid plugins configuration: ${wrong}` : wrong)
}

/** What is accepted without effect in an item that `checkResource` let pass: one sentence each. */
export function warnings(kind: ServedKind, value: unknown, plugins: ReadonlyMap<string, Plugin>): string[] {
  const resource: Record<string, unknown> = { ...validators[kind].fill(value) }
  return [
    ...upstreamWarnings(kind === 'upstreams' ? resource : resource.upstream, kind === 'upstreams' ? '' : 'upstream.'),
    ...pluginsWarnings((resource.plugins ?? {}) as Plugins, kind, plugins),
  ]
}

/**
 * What the data plane uses of an item that `checkResource` let pass: a deep copy with defaults, nodes as a list, ids as
 * strings. Plugin configs stay as they are: `fillPlugin` completes each.
 */
export function prepareResource<K extends ServedKind>(kind: K, value: unknown): Resources[K] {
  const resource = validators[kind].fill(value)
  const open = resource as unknown as Record<string, unknown>
  // A client may write the number 1 where it means the key "1".
  for (const key of ['id', 'upstream_id', 'service_id'])
    if (typeof open[key] === 'number') open[key] = String(open[key])
  if (kind === 'upstreams') normaliseNodes(open)
  else if (isObject(open.upstream)) normaliseNodes(open.upstream)
  return resource
}
