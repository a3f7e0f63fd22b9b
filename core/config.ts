// conf/*.yaml and the environment become one validated, frozen object; knows what is written, not what anybody does with it.
import { foreignBelow, judge } from './config/foreign.ts'
import { isGroup, type Key, type Place, unwrap, type Values } from './config/key.ts'
import { schema } from './config/schema.ts'
import { below, ConfigError, type Environment, readSource, type Source, Substituted } from './config/source.ts'
import { nearest } from './config/suggest.ts'

export { ConfigError }

/**
 * The configuration: the tree of conf/config.example.yaml in camelCase, defaults filled in. Durations are milliseconds,
 * sizes are bytes. Plain data, so that it can be posted to a worker thread.
 */
export interface Config extends Values<typeof schema.keys> {}

export interface LoadedConfig {
  readonly config: Config
  /** One line each, for the log: keys without effect, and settings that leave a door open. */
  readonly warnings: readonly string[]
  /** `file:line: path` of a key, for errors that show later (a port in use). */
  readonly where: (path: string) => string
}

/**
 * Reads the configuration. Without `file` that is conf/config.yaml, or conf/config-<APISIX_PROFILE>.yaml.
 * Throws ConfigError, of one line, for the first thing that is wrong (facts core 5.3 and 7).
 */
export function loadConfig({ file, env = process.env }: { file?: string; env?: Environment } = {}): LoadedConfig {
  const profile = env.APISIX_PROFILE ? `-${env.APISIX_PROFILE}` : ''
  const source = readSource(file ?? `conf/config${profile}.yaml`, env)
  const warnings: string[] = []
  const config: Config = schema.read(withOverrides(source.value ?? {}, env, warnings), place('', source, warnings))
  checkTogether(config, source, warnings)
  return { config: freeze(config), warnings, where: source.where }
}

/** Variables of APISIX's that stand above the file (facts core 5.3). */
function withOverrides(raw: unknown, env: Environment, warnings: string[]): unknown {
  for (const name of ['APISIX_DEPLOYMENT_ETCD_HOST', 'APISIX_STAND_ALONE']) {
    if (env[name]) warnings.push(`the environment variable ${name} has no effect in Sluice: the store is embedded`)
  }
  const workers = env.APISIX_WORKER_PROCESSES
  if (!workers || !isGroup(raw)) return raw
  const nginx = raw.nginx_config ?? {}
  if (!isGroup(nginx)) return raw
  const value = new Substituted(workers, 'APISIX_WORKER_PROCESSES')
  return { ...raw, nginx_config: { ...nginx, worker_processes: value } }
}

function place(path: string, source: Source, warnings: string[]): Place {
  const at: Place = {
    path,
    key: name => place(below(path, name), source, warnings),
    item: index => place(`${path}[${index}]`, source, warnings),
    fail: message => {
      throw new ConfigError(`${source.where(path)}: ${message}`)
    },
    stranger(name, raw, siblings) {
      const key = at.key(name)
      const value = unwrap(raw)
      const judgement = judge(key.path, value)
      const group = foreignBelow(key.path).length > 0
      if (judgement?.verdict === 'refused') key.fail(`is not served in this version: ${judgement.why}`)
      else if (judgement?.verdict === 'ineffective') {
        warnings.push(`${source.where(key.path)} has no effect in Sluice: ${judgement.why}`)
      } else if (judgement === undefined && group) {
        if (isGroup(value)) for (const [inner, each] of Object.entries(value)) key.stranger(inner, each, [])
        else if (value !== null) key.fail('expected a group of keys')
      } else if (judgement === undefined) {
        const meant = nearest(name, [...siblings, ...foreignBelow(path)]) ?? namesake(name)
        key.fail(`unknown key${meant === undefined ? '' : ` (did you mean ${meant}?)`}`)
      }
    },
  }
  return at
}

/** A key of the same name in another group. */
function namesake(name: string): string | undefined {
  return paths(schema).find(path => path.endsWith(`.${name}`))
}

/** Every path of a schema, groups included. */
export function paths(key: Key<unknown>, path = ''): string[] {
  return Object.entries(key.keys ?? {}).flatMap(([name, inner]) => {
    const inside = below(path, name)
    return [inside, ...paths(inner, inside)]
  })
}

/** What one key alone cannot say. */
function checkTogether(config: Config, source: Source, warnings: string[]): void {
  const at = (path: string) => place(path, source, warnings)
  const { adminKey, adminKeyRequired } = config.deployment.admin
  if (config.apisix.enableAdmin && adminKeyRequired && adminKey.length === 0) {
    at('deployment.admin.admin_key').fail('holds no key: add one, or set admin_key_required to false')
  }
  if (config.apisix.enableAdmin && !adminKeyRequired) {
    const key = source.where('deployment.admin.admin_key_required')
    warnings.push(`${key} is false: whoever reaches the admin API may change everything`)
  }
  const all = Object.values(listeners(config)).flat()
  for (const [index, one] of all.entries()) {
    const other = all.slice(0, index).find(each => collide(each, one))
    if (other !== undefined) at(one.key).fail(`port ${one.port} is also that of ${other.key}`)
  }
}

/** What to give to `server.listen`, and the key it comes from. */
export interface Listener {
  readonly host: string
  readonly port: number
  /** `::` leaves IPv4 to `0.0.0.0`, so that IPv4 clients keep IPv4 addresses. */
  readonly ipv6Only: true
  readonly key: string
}

/**
 * Every address the process listens on; a server that is switched off has none. Where the host has no IPv6, the `::` that
 * `enable_ipv6` adds cannot be opened, and nothing is lost.
 */
export function listeners(config: Config): Record<'data' | 'admin' | 'control' | 'status' | 'prometheus', Listener[]> {
  const { apisix, deployment, pluginAttr } = config
  const at = (key: string, address: { ip: string; port: number } | undefined): Listener[] =>
    address === undefined ? [] : [{ host: address.ip, port: address.port, ipv6Only: true, key }]
  const everywhere = apisix.enableIpv6 ? ['0.0.0.0', '::'] : ['0.0.0.0']
  const { enableExportServer, exportAddr } = pluginAttr.prometheus
  return {
    data: apisix.nodeListen.flatMap(({ ip, port }, index) => {
      const key = apisix.nodeListen.length === 1 ? 'apisix.node_listen' : `apisix.node_listen[${index}]`
      return (ip === undefined ? everywhere : [ip]).flatMap(host => at(key, { ip: host, port }))
    }),
    admin: apisix.enableAdmin ? at('deployment.admin.admin_listen', deployment.admin.adminListen) : [],
    control: apisix.enableControl ? at('apisix.control', apisix.control) : [],
    status: at('apisix.status', apisix.status),
    prometheus: enableExportServer ? at('plugin_attr.prometheus.export_addr', exportAddr) : [],
  }
}

function collide(a: Listener, b: Listener): boolean {
  if (a.port === 0 || a.port !== b.port) return false
  const wildcard = a.host.includes(':') ? '::' : '0.0.0.0'
  return (
    a.host === b.host || (a.host.includes(':') === b.host.includes(':') && (a.host === wildcard || b.host === wildcard))
  )
}

function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.values(value).forEach(freeze)
    Object.freeze(value)
  }
  return value
}
