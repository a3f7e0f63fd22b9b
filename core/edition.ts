// One edition of one resource: what it says, which snapshots have it, what was made of it. Knows no other resource.
import { isDeepStrictEqual } from 'node:util'
import { Parts } from './parts.ts'
import { type Attached, Instance, type InstanceEnv, type Meta } from './pipeline.ts'
import type { Owner } from './plugin.ts'
import { HttpUpstream } from './proxy/http-upstream.ts'
import { ProbedEndpoint } from './proxy/probed-endpoint.ts'
import { fillPlugin, type Plugins, prepareResource, type Resources, type Route, type ServedKind } from './resource.ts'
import type { Target } from './router/path-index.ts'
import { isObject } from './schema.ts'
import type { SnapshotEnv } from './snapshot.ts'
import type { Item } from './store/store.ts'
import { upstreamConfig } from './upstream-config.ts'

/** Who owns the plugins of a kind that has plugins. */
const OWNERS: Partial<Record<ServedKind, Owner['kind']>> = {
  routes: 'route',
  services: 'service',
  plugin_configs: 'plugin_config',
  consumers: 'consumer',
  consumer_groups: 'consumer_group',
  global_rules: 'global_rule',
}

const noPlugins: Attached = new Map()

/** What is made of an edition is made with this. */
export interface EditionEnv extends SnapshotEnv {
  /** The metadata of a plugin as a snapshot has it, the current one unless it is said; undefined where there is none. */
  metadata(plugin: string, snapshot?: number): unknown
}

/** Everything but the item is made on first use: most resources of a large configuration are idle. */
export class Edition<K extends ServedKind = ServedKind> implements Target {
  readonly kind: K
  readonly item: Item
  /** The first snapshot that has it. */
  readonly since: number
  /** The first snapshot that has it no more; undefined while there is none. */
  until: number | undefined = undefined
  /** The one before it, while a snapshot may have that. */
  older: Edition | undefined = undefined
  #resource: Resources[K] | undefined = undefined
  #plugins: Attached | undefined = undefined
  #parts: Parts | undefined = undefined
  /** The timeouts of routes for which its upstream was made, by the key of the part. */
  #timeouts: Map<string, Route['timeout']> | undefined = undefined

  /** `item` has passed `checkResource`. */
  constructor(kind: K, item: Item, since: number) {
    this.kind = kind
    this.item = item
    this.since = since
  }

  get id(): string {
    return this.item.id
  }

  seenBy(snapshot: number): boolean {
    return this.since <= snapshot && (this.until === undefined || snapshot < this.until)
  }

  /** Whether anything was made of it that may have to be closed. */
  get used(): boolean {
    return this.#parts !== undefined
  }

  /** The resource with defaults. */
  get resource(): Resources[K] {
    this.#resource ??= prepareResource(this.kind, this.item.value)
    return this.#resource
  }

  /** Its own plugins by name; undefined for one that is there and disabled. A consumer's are those without credentials. */
  plugins(env: EditionEnv): Attached {
    this.#plugins ??= this.#attach(env)
    return this.#plugins
  }

  /** Its own upstream, for a route with that `timeout`, which wins over the upstream's; undefined without one. */
  upstream(env: SnapshotEnv, timeout: Route['timeout']): HttpUpstream | undefined {
    const resource = this.resource as Partial<Resources['upstreams'] & Resources['services']>
    const upstream = this.kind === 'upstreams' ? (resource as Resources['upstreams']) : resource.upstream
    if (upstream === undefined) return undefined
    const config = upstreamConfig(upstream, timeout)
    const key = `upstream ${JSON.stringify(timeout)}`
    this.#timeouts ??= new Map()
    this.#timeouts.set(key, timeout)
    const owner = `${this.kind}/${this.id}`
    return this.#carried.carry(key, config, {
      make: () => new HttpUpstream(owner, config, env.upstreams),
      close: upstream => upstream.close(),
    })
  }

  /** Whether one of these plugins is configured on it, or one is that is made of one of these. */
  uses(names: ReadonlySet<string>): boolean {
    const { plugins } = this.item.value
    if (isObject(plugins) && Object.keys(plugins).some(name => names.has(name))) return true
    const made = this.#plugins === undefined ? [] : [...this.#plugins.values()]
    return made.some(instance => [...(instance?.madeOf.keys() ?? [])].some(name => names.has(name)))
  }

  /** Takes over what was made of the older edition and is still what this one asks for. */
  succeed(older: Edition, env: EditionEnv): void {
    if (older.#parts === undefined || older.kind !== this.kind) return
    this.#parts = new Parts(older.#parts)
    if (older.#plugins !== undefined) {
      const plugins = this.plugins(env)
      for (const [name, before] of older.#plugins) if (before !== undefined) plugins.get(name)?.succeed(before)
    }
    for (const timeout of older.#timeouts?.values() ?? []) this.upstream(env, timeout)
    this.#parts.seal()
  }

  /** No snapshot has it any more: closes what was made of it. Returns the errors. */
  async release(): Promise<unknown[]> {
    return (await this.#parts?.release()) ?? []
  }

  get #carried(): Parts {
    this.#parts ??= new Parts()
    return this.#parts
  }

  #attach(env: EditionEnv): Attached {
    const { plugins: configs = {} } = this.resource as { plugins?: Plugins }
    const attached = new Map<string, Instance | undefined>()
    for (const [name, config] of Object.entries(configs)) {
      const plugin = env.plugins.get(name)
      if (plugin === undefined || (this.kind === 'consumers' && plugin.type === 'auth')) continue
      const { _meta: meta = {} } = config as { _meta?: Meta }
      if (meta.disable === true) {
        attached.set(name, undefined)
        continue
      }
      // Whoever has other metadata later has another edition: the first snapshot of this one speaks for all.
      const metadata = env.metadata(name, this.since)
      const make = () => {
        const { _meta: _, ...own } = fillPlugin(plugin, config)
        const owner = { kind: OWNERS[this.kind]!, id: this.id }
        const others = (other: string) => {
          const found = env.plugins.get(other)
          return found && { plugin: found, metadata: env.metadata(other) }
        }
        const { balancing, health } = env.upstreams
        const probe: InstanceEnv['probe'] =
          health && (endpoint => new ProbedEndpoint(endpoint, { ...env.upstreams, health }))
        return new Instance(plugin, own, meta, { ...env, balancing, probe, metadata, owner, others })
      }
      const holds = ({ madeOf }: Instance) =>
        [...madeOf].every(([other, had]) => isDeepStrictEqual(had, env.metadata(other, this.since)))
      const close = (instance: Instance) => instance.close()
      attached.set(name, this.#carried.carry(`plugin ${name}`, { config, metadata }, { make, holds, close }))
    }
    return attached.size === 0 ? noPlugins : attached
  }
}
