// Plugins that resources name and this gateway has not: what stands in their place; knows no resource.

import { PluginMap } from './known-plugins.ts'
import { type Plugin, plugin } from './plugin.ts'

/** refuse: requests are answered 503, for the plugin may have been there to guard them. ignore: APISIX's way (facts core 5.1). */
export type OnUnknown = 'refuse' | 'ignore'

/**
 * APISIX's plugins that recognise consumers (facts core 8.1). On a consumer they do nothing but hold a credential, and so
 * such a consumer can still be recognised by another.
 */
const authPlugins: ReadonlySet<string> = new Set([
  'basic-auth',
  'hmac-auth',
  'jwe-decrypt',
  'jwt-auth',
  'key-auth',
  'ldap-auth',
  'ldap-auth-advanced',
  'wolf-rbac',
])

/** Before every other: nothing is let through, and nothing answered, as if it were not there. */
const FIRST = 1_000_000

/** The known plugins, and under every other name one that takes any config and refuses or ignores requests. */
export class PluginsOrNone extends PluginMap {
  readonly #onUnknown: OnUnknown
  readonly #standIns = new Map<string, Plugin>()

  constructor(known: Iterable<readonly [string, Plugin]>, onUnknown: OnUnknown, javascript = false) {
    super(known, javascript)
    this.#onUnknown = onUnknown
  }

  override get(name: string): Plugin {
    const found = super.get(name) ?? this.#standIns.get(name) ?? standIn(name, this.#onUnknown)
    if (!super.has(name)) this.#standIns.set(name, found)
    return found
  }
}

/** What becomes of requests for the plugins of a resource that are not `known`, in one sentence each. */
export function unknownIn(
  value: Readonly<Record<string, unknown>>,
  known: ReadonlyMap<string, Plugin>,
  onUnknown: OnUnknown,
): string[] {
  const { plugins } = value
  if (typeof plugins !== 'object' || plugins === null) return []
  const effect = onUnknown === 'refuse' ? 'its requests are answered 503' : 'its requests are served without it'
  return Object.keys(plugins)
    .filter(name => !known.has(name))
    .map(name => `this gateway has no plugin ${name.slice(0, 256)}: ${effect}`)
}

function standIn(name: string, onUnknown: OnUnknown): Plugin {
  return plugin({
    name,
    priority: FIRST,
    version: 0,
    schema: { type: 'object' },
    ...(authPlugins.has(name) && { type: 'auth' as const }),
    setup() {
      if (onUnknown === 'refuse') throw new Error('this gateway has no such plugin')
      return {}
    },
  })
}
