// conf/*.yaml and the environment become one validated, frozen object; knows what is written, not what anybody does with it.
import { dirname, join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { readDebugMode } from './config/debug-mode.ts'
import { foreignBelow, judge } from './config/foreign.ts'
import { isGroup, type Key, type Place, unwrap, type Values } from './config/key.ts'
import { isPublished, schema } from './config/schema.ts'
import { below, ConfigError, type Environment, readSource, type Source, Substituted } from './config/source.ts'
import { nearest } from './config/suggest.ts'
import { compileLine } from './observe/line-template.ts'
import { isVariable } from './router/vars.ts'
import { veil } from './secrets/veil.ts'

export { ConfigError }

/**
 * The configuration: the tree of conf/config.example.yaml in camelCase, defaults filled in. Durations are milliseconds,
 * sizes are bytes. Plain data, so that it can be posted to a worker thread.
 */
export interface Config extends Values<typeof schema.keys> {}

export interface LoadedConfig {
  readonly config: Config
  /** debug.yaml beside the file: every response says which plugins it went through. */
  readonly debugMode: boolean
  /** One line each, for the log: keys without effect, and settings that leave a door open. */
  readonly warnings: readonly string[]
  /** `file:line: path` of a key, for errors that show later (a port in use). */
  readonly where: (path: string) => string
  /** The file that holds the resources, where they are in one, and what is filled into it. */
  readonly document: { readonly file: string; readonly env: Environment }
  /** Where `$env://` leads. */
  readonly env: Environment
}

/**
 * Reads the configuration. Without `file` that is conf/config.yaml, or conf/config-<APISIX_PROFILE>.yaml.
 * Throws ConfigError, of one line, for the first thing that is wrong (facts core 5.3 and 7).
 */
export function loadConfig({ file, env = process.env }: { file?: string; env?: Environment } = {}): LoadedConfig {
  const profile = env.APISIX_PROFILE ? `-${env.APISIX_PROFILE}` : ''
  const main = file ?? `conf/config${profile}.yaml`
  const source = readSource(main, env)
  const debugMode = readDebugMode(join(dirname(main), `debug${profile}.yaml`), env)
  const warnings: string[] = []
  const config: Config = schema.read(withOverrides(source.value ?? {}, env, warnings), place('', source, warnings))
  checkTogether(config, source, warnings)
  const kept = `conf/apisix${profile}.${providerOf(config) === 'json' ? 'json' : 'yaml'}`
  const document = { file: config.deployment.standalone.path || kept, env }
  veilSecrets(config)
  return { config: freeze(config), debugMode, warnings, where: source.where, document, env }
}

/** Variables of APISIX's that stand above the file (facts core 5.3). */
function withOverrides(raw: unknown, env: Environment, warnings: string[]): unknown {
  if (env.APISIX_STAND_ALONE) {
    warnings.push('the environment variable APISIX_STAND_ALONE has no effect in Sluice: say it in the configuration')
  }
  const workers = env.APISIX_WORKER_PROCESSES
  const hosts = env.APISIX_DEPLOYMENT_ETCD_HOST
  const account = env.GCP_SERVICE_ACCOUNT
  let above = raw
  if (workers) {
    above = withValue(above, ['nginx_config', 'worker_processes'], new Substituted(workers, 'APISIX_WORKER_PROCESSES'))
  }
  if (account) {
    above = withValue(above, ['sluice', 'gcp_service_account'], new Substituted(account, 'GCP_SERVICE_ACCOUNT'))
  }
  if (hosts) above = withValue(above, ['deployment', 'etcd', 'host'], hostsOf(hosts))
  return above
}

/** The same with a value at a path; what is no group on the way is left for its key to complain about. */
function withValue(raw: unknown, [step, ...rest]: readonly string[], value: unknown): unknown {
  if (step === undefined) return value
  if (raw !== undefined && !isGroup(raw)) return raw
  return { ...raw, [step]: withValue(raw?.[step], rest, value) }
}

function hostsOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new ConfigError('the environment variable APISIX_DEPLOYMENT_ETCD_HOST is not a JSON list of URLs')
  }
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
  if (hasAdmin(config) && adminKeyRequired && adminKey.length === 0) {
    at('deployment.admin.admin_key').fail('holds no key: add one, or set admin_key_required to false')
  }
  if (hasAdmin(config) && !adminKeyRequired) {
    const key = source.where('deployment.admin.admin_key_required')
    warnings.push(`${key} is false: whoever reaches the admin API may change everything`)
  }
  const { httpsAdmin, adminApiMtls } = config.deployment.admin
  const files = Object.values(adminApiMtls).filter(file => file !== '')
  if (!httpsAdmin && files.length > 0) {
    at('deployment.admin.admin_api_mtls').fail('the admin API speaks plain HTTP unless https_admin is true')
  }
  if (httpsAdmin && (adminApiMtls.adminSslCert === '' || adminApiMtls.adminSslCertKey === '')) {
    at('deployment.admin.https_admin').fail('needs admin_ssl_cert and admin_ssl_cert_key in admin_api_mtls')
  }
  for (const [index, key] of (config.apisix.dataEncryption.keyring ?? []).entries()) {
    if (!isPublished(key)) continue
    const where = source.where(`apisix.data_encryption.keyring[${index}]`)
    warnings.push(`${where} is a default that APISIX publishes: what is still encrypted with it is no secret`)
  }
  const format = compileLine(config.nginxConfig.http.accessLogFormat, 'default')
  for (const name of new Set(format.names.filter(each => !isVariable(each)))) {
    const key = source.where('nginx_config.http.access_log_format')
    warnings.push(`${key} asks for $${name}, which has no value in Sluice`)
  }
  for (const [family, { extraLabels = [] }] of Object.entries(config.pluginAttr.prometheus.metrics)) {
    for (const { variable } of extraLabels.filter(each => !isVariable(each.variable))) {
      const key = source.where(`plugin_attr.prometheus.metrics.${family}.extra_labels`)
      warnings.push(`${key} asks for $${variable}, which has no value in Sluice`)
    }
  }
  const { etcd, role } = config.deployment
  const shared = providerOf(config) === 'etcd'
  if (providerOf(config) === 'json' && hasAdmin(config)) {
    const why = 'resources come from a file, which no admin API changes'
    at('apisix.enable_admin').fail(`must be false with the config_provider json: ${why}`)
  }
  if (!shared && !isDeepStrictEqual(etcd, schema.keys.deployment.keys.etcd.read({}, at('deployment.etcd')))) {
    const instead = 'the config_provider is another'
    warnings.push(`${source.where('deployment.etcd')} has no effect in Sluice: ${instead}`)
  }
  if (shared && (etcd.tls.cert === undefined) !== (etcd.tls.key === undefined)) {
    at('deployment.etcd.tls').fail('cert and key belong together')
  }
  if (shared && !etcd.tls.verify) {
    const key = source.where('deployment.etcd.tls.verify')
    warnings.push(`${key} is false: whoever answers in place of etcd is believed`)
  }
  if (role === 'control_plane' && !config.apisix.enableAdmin) {
    at('deployment.role').fail('a control plane without an admin API does nothing: apisix.enable_admin is false')
  }
  const all = Object.values(listeners(config)).flat()
  for (const [index, one] of all.entries()) {
    const other = all.slice(0, index).find(each => collide(each, one))
    if (other !== undefined) at(one.key).fail(`port ${one.port} is also that of ${other.key}`)
  }
}

export type Provider = 'embedded' | 'etcd' | 'yaml' | 'json'

/** Where resources are kept: what the role's own group says (facts core 7.3). */
export function providerOf({ deployment }: Config): Provider {
  const { role, roleTraditional, roleControlPlane, roleDataPlane } = deployment
  if (role === 'traditional') return roleTraditional.configProvider
  return role === 'control_plane' ? roleControlPlane.configProvider : roleDataPlane.configProvider
}

/** Whether all resources are one document (facts core 5.2, 5.4): a file, or what the admin API is told. */
export function standaloneOf(config: Config): 'file' | 'api' | undefined {
  const provider = providerOf(config)
  if (provider !== 'yaml' && provider !== 'json') return undefined
  return hasAdmin(config) ? 'api' : 'file'
}

/** A data plane has no admin API. */
export function hasAdmin({ apisix, deployment }: Config): boolean {
  return apisix.enableAdmin && deployment.role !== 'data_plane'
}

/** A control plane serves nobody else. */
export function hasDataPlane({ deployment }: Config): boolean {
  return deployment.role !== 'control_plane'
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
  const nodes = hasDataPlane(config) ? apisix.nodeListen : []
  return {
    data: nodes.flatMap(({ ip, port }, index) => {
      const key = apisix.nodeListen.length === 1 ? 'apisix.node_listen' : `apisix.node_listen[${index}]`
      return (ip === undefined ? everywhere : [ip]).flatMap(host => at(key, { ip: host, port }))
    }),
    admin: hasAdmin(config) ? at('deployment.admin.admin_listen', deployment.admin.adminListen) : [],
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

/** The configuration can be printed: what is secret in it has no printable form. */
function veilSecrets({ apisix, deployment, sluice }: Config): void {
  for (const key of deployment.admin.adminKey) veil(key, ['key'])
  veil(deployment.etcd, ['password'])
  veil(apisix.dataEncryption, ['keyring'])
  veil(sluice, ['debugKey', 'gcpServiceAccount'])
}

function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.values(value).forEach(freeze)
    Object.freeze(value)
  }
  return value
}
