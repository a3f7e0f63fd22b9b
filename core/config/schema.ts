// Every key of conf/config.yaml that has a meaning in this version, with its default; what APISIX has besides is in foreign.ts.
// The tree is the file's; `Config` in config.ts is the same tree in camelCase. conf/config.example.yaml explains each key.
import { availableParallelism } from 'node:os'
import { debugKeyFault } from '../debug-key.ts'
import { MIN_RING } from '../explain/record-ring.ts'
import { DENIED_BY_DEFAULT } from '../proxy/address-guard.ts'
import { routerNames } from '../router/routers.ts'
import {
  checked,
  duration,
  flag,
  group,
  integer,
  ip,
  isGroup,
  type Key,
  list,
  mapped,
  network,
  oneOf,
  optional,
  orNone,
  port,
  server,
  shown,
  size,
  text,
  unwrap,
} from './key.ts'
import { buckets, familySettings } from './metrics.ts'

/** `ip` is undefined when only a port was given: every address, IPv6 included where `enable_ipv6` says so. */
export interface NodeListen {
  readonly ip: string | undefined
  readonly port: number
}

/** The data plane's ports: a port, or a list of ports and of `{ip, port}`. */
function nodeListen(fallback: number): Key<readonly NodeListen[]> {
  const whole = group({ ip: optional(ip()), port: port() })
  const one: Key<NodeListen> = {
    fallback: undefined,
    read: (raw, at) => (isGroup(raw) ? whole.read(raw, at) : { ip: undefined, port: port().read(raw, at) }),
  }
  const several = checked(list(one, []), all => (all.length === 0 ? 'expected at least one port' : undefined))
  return { fallback, read: (raw, at) => (Array.isArray(raw) ? several.read(raw, at) : [one.read(raw, at)]) }
}

/** Values that APISIX publishes as defaults: whoever can read its documentation would be admin, or could decrypt. */
const published = new Set([
  'edd1c9f034335f136f87ad84b625c8f1',
  '4054f7cf07e344346cd3f287985e76a2',
  'qeddd145sfvddff3',
  'edd1c9f0985e76a2',
])

/** What is wrong with an admin key, if anything. */
export function adminKeyFault(key: string): string | undefined {
  if (published.has(key)) return 'is a default that APISIX publishes: everybody knows it, choose your own'
  return /^[!-~]*$/.test(key) ? undefined : 'expected ASCII characters without spaces'
}

/** What is wrong with a key that is to encrypt, if anything. */
export function encryptionKeyFault(key: string): string | undefined {
  if (isPublished(key)) return 'is a default that APISIX publishes: everybody knows it, choose your own'
  return decryptionKeyFault(key)
}

/** Of a key that is only to decrypt, which may be one of APISIX's: AES-128 takes 16 characters, AES-256 32 (facts core 4.10). */
function decryptionKeyFault(key: string): string | undefined {
  return /^([!-~]{16}|[!-~]{32})$/.test(key) ? undefined : 'expected 16 or 32 ASCII characters without spaces'
}

export function isPublished(key: string): boolean {
  return published.has(key)
}

const adminKey = group({
  name: text(undefined, 'a name', /./),
  /** Empty: made at first start. */
  key: checked(text(''), adminKeyFault),
  role: oneOf(['admin', 'viewer'], 'admin'),
})

const keyring = checked(list(checked(text(undefined), decryptionKeyFault), []), ([first]) => {
  if (first === undefined) return 'expected at least one key'
  const fault = encryptionKeyFault(first)
  return fault && `the first key, which encrypts, ${fault}`
})

/** At most one key is left to be made at first start, for it is kept in one file. */
const adminKeys = checked(list(adminKey, [{ name: 'admin', key: '', role: 'admin' }]), keys => {
  const twice = keys.find((key, index) => keys.findIndex(other => other.name === key.name) < index)
  if (twice !== undefined) return `the name ${twice.name} stands here twice`
  const empty = keys.filter(key => key.key === '')
  if (empty.length > 1) return 'only one key can be left empty, to be made at first start'
  return empty.some(key => key.role !== 'admin') ? 'only a key of role admin can be left empty' : undefined
})

/** How many threads serve requests; `auto` is one per core. */
const workerProcesses: Key<number> = {
  fallback: 'auto',
  read(raw, at) {
    const value = unwrap(raw)
    if (value === 'auto') return availableParallelism()
    if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= MAX_WORKERS) return value
    return at.fail(`expected auto or a number from 1 to ${MAX_WORKERS}, got ${shown(raw)}`)
  },
}

const MAX_WORKERS = 256

/** Whose real_ip_header is believed. There are no listeners on Unix sockets, but APISIX's default names them. */
const peer: Key<string> = {
  fallback: undefined,
  read: (raw, at) => (unwrap(raw) === 'unix:' ? 'unix:' : network().read(raw, at)),
}

/** nginx's flags; YAML 1.1 would read them as true and false. */
function onOff(fallback: 'on' | 'off'): Key<boolean> {
  return {
    fallback,
    read(raw, at) {
      const value = unwrap(raw)
      if (typeof value === 'boolean') return value
      return value === 'on' || value === 'off' ? value === 'on' : at.fail(`expected on or off, got ${shown(raw)}`)
    },
  }
}

/** Undefined is stderr. */
const errorLog: Key<string | undefined> = {
  fallback: 'logs/error.log',
  read(raw, at) {
    const file = text(undefined, 'a file name, or stderr', /./).read(raw, at)
    return file === 'stderr' || file === '/dev/stderr' ? undefined : file
  },
}

/** Undefined is none; nginx's `syslog:` is for a plugin. */
const accessLog: Key<string | undefined> = {
  fallback: 'logs/access.log',
  read(raw, at) {
    const file = text(undefined, 'a file name, or off').read(raw, at)
    if (file.startsWith('syslog:')) at.fail('syslog: is not served here: attach the plugin syslog as a global rule')
    return file === 'off' || file === '' ? undefined : file
  },
}

// facts core 7.2
const ACCESS_LOG_FORMAT =
  '$remote_addr - $remote_user [$time_local] $http_host "$request" $status $body_bytes_sent $request_time "$http_referer" "$http_user_agent" $upstream_addr $upstream_status $upstream_response_time "$upstream_scheme://$upstream_host$upstream_uri" "$apisix_request_id"'

/** A member of an etcd cluster, with its port. */
const member = mapped(
  text(undefined, 'a URL such as http://127.0.0.1:2379', /^https?:\/\/(\[[\da-fA-F:]+\]|[\w.-]+)(:\d{1,5})?$/),
  url => (/:\d+$/.test(url) ? url : `${url}:2379`),
)

const etcd = group({
  host: checked(list(member, ['http://127.0.0.1:2379']), hosts =>
    hosts.length === 0 ? 'expected at least one URL' : undefined,
  ),
  /** Without a slash at the end. */
  prefix: mapped(text('/apisix', 'a path such as /apisix', /^\/[^/].*$/), prefix => prefix.replace(/\/+$/, '')),
  timeout: duration('30s', 100),
  health_check_timeout: duration('10s', 100),
  startup_retry: integer(2, 1, 1_000),
  user: optional(text(undefined, 'a name', /./)),
  password: optional(text(undefined)),
  tls: group({
    cert: optional(text(undefined, 'a file', /./)),
    key: optional(text(undefined, 'a file', /./)),
    /** Ours: APISIX takes apisix.ssl.ssl_trusted_certificate. */
    ca: optional(text(undefined, 'a file', /./)),
    verify: flag(true),
    sni: optional(text(undefined, 'a host name', /./)),
  }),
})

export const levels = ['debug', 'info', 'notice', 'warn', 'error', 'crit', 'alert', 'emerg'] as const

export const schema = group({
  apisix: group({
    node_listen: nodeListen(9080),
    enable_ipv6: flag(true),
    enable_admin: flag(true),
    enable_control: flag(true),
    control: group({ ip: ip('127.0.0.1'), port: port(9090) }),
    /** On by default, unlike APISIX's. */
    status: orNone(group({ ip: ip('127.0.0.1'), port: port(7085) }), undefined),
    enable_server_tokens: flag(true),
    show_upstream_status_in_response_header: flag(false),
    proxy_mode: oneOf(['http'], 'http', ['stream', 'http&stream']),
    /** Absent: whoever asks is believed to forward for others, but not what they claim of themselves. */
    trusted_addresses: orNone(optional(list(network(), [])), undefined),
    /** Name servers; empty: those of the operating system. */
    dns_resolver: orNone(list(server(), []), []),
    /** 0: as long as the records say. */
    dns_resolver_valid: duration('0s'),
    resolver_timeout: duration('5s', 1),
    enable_resolv_search_opt: flag(true),
    disable_upstream_healthcheck: flag(false),
    /** MiB; 0 is any number. APISIX reads 64: as JSON that holds up a worker for a second. */
    max_post_args_readable_size: integer(8, 0, 1_048_576),
    router: group({
      http: oneOf(routerNames, 'radixtree_host_uri'),
    }),
    data_encryption: group({
      enable_encrypt_fields: flag(true),
      /** Absent: made at first start. */
      keyring: optional(keyring),
      /** How secrets are written; both are read. Absent: what all that share the store can read. */
      format: optional(oneOf(['compat', 'v2'])),
    }),
  }),
  nginx_config: group({
    worker_processes: workerProcesses,
    worker_shutdown_timeout: duration('240s', 1),
    event: group({ worker_connections: integer(10_620, 1, 10_000_000) }),
    error_log: errorLog,
    error_log_level: oneOf(levels, 'warn'),
    http: group({
      enable_access_log: flag(true),
      access_log: accessLog,
      access_log_format: text(ACCESS_LOG_FORMAT),
      access_log_format_escape: oneOf(['default', 'json'], 'default', ['none']),
      access_log_buffer: size(16_384),
      client_max_body_size: size(0),
      client_header_timeout: duration('60s', 1),
      client_body_timeout: duration('60s', 1),
      keepalive_timeout: duration('60s', 1),
      send_timeout: duration('10s'),
      /** A request from one of `real_ip_from` comes from the address in that field. */
      real_ip_header: text('X-Real-IP', 'the name of a header field', /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/),
      real_ip_from: orNone(list(peer, ['127.0.0.1', 'unix:']), []),
      real_ip_recursive: onOff('off'),
      upstream: group({
        keepalive: integer(320, 1, 1_000_000),
        keepalive_requests: integer(1_000, 1, 1_000_000_000),
        /** Not APISIX's 60 s: below the 5 s after which many servers close a connection that may just be used again. */
        keepalive_timeout: duration('4s'),
      }),
    }),
  }),
  deployment: group({
    role: oneOf(['traditional', 'control_plane', 'data_plane'], 'traditional'),
    role_traditional: group({
      config_provider: oneOf(['embedded', 'etcd', 'yaml', 'json'], 'embedded', ['xds']),
    }),
    role_control_plane: group({ config_provider: oneOf(['etcd'], 'etcd') }),
    role_data_plane: group({ config_provider: oneOf(['etcd', 'yaml', 'json'], 'etcd', ['xds']) }),
    etcd,
    embedded: group({ path: text('data', 'a folder', /./) }),
    /** Empty: conf/apisix.yaml or conf/apisix.json, with the profile in the name. */
    standalone: group({ path: text('') }),
    admin: group({
      admin_key_required: flag(true),
      admin_key: orNone(adminKeys, []),
      enable_admin_cors: flag(true),
      /** Empty: everybody. */
      allow_admin: orNone(list(network(), ['127.0.0.0/24']), []),
      admin_listen: group({ ip: ip('0.0.0.0'), port: port(9180) }),
      https_admin: flag(false),
      /** Files in PEM form; clients need a certificate where `admin_ssl_ca_cert` is not empty. */
      admin_api_mtls: group({ admin_ssl_cert: text(''), admin_ssl_cert_key: text(''), admin_ssl_ca_cert: text('') }),
      admin_api_version: oneOf(['v3'], 'v3', ['v2']),
    }),
  }),
  plugin_attr: group({
    prometheus: group({
      enable_export_server: flag(true),
      export_uri: text('/apisix/prometheus/metrics', 'a path', /^\/[!-~]*$/),
      export_addr: group({ ip: ip('127.0.0.1'), port: port(9091) }),
      metric_prefix: text('apisix_', 'letters, digits and _', /^([a-zA-Z_:][\w:]*)?$/),
      metrics: familySettings,
      /** Of http_latency only. Where a family's own are meant, the key is left out. */
      default_buckets: optional(buckets),
      llm_latency_buckets: optional(buckets),
      llm_prompt_tokens_buckets: optional(buckets),
      llm_completion_tokens_buckets: optional(buckets),
    }),
  }),
  discovery: group({
    dns: group({
      /** Empty: those of apisix.dns_resolver. */
      servers: orNone(list(server(), []), []),
    }),
  }),
  /** Ours, where APISIX has nothing of the kind. */
  sluice: group({
    /** Where names may not lead. */
    deny_upstream_cidrs: orNone(list(network(), DENIED_BY_DEFAULT), []),
    /** JSON, for `auth.gcp` that names no service account of Google's. The environment's GCP_SERVICE_ACCOUNT stands above. */
    gcp_service_account: optional(text(undefined)),
    /** A worker whose loop stands still for so long is ended and replaced. */
    worker_stall_ms: integer(2_000, 200, 3_600_000),
    /** What each worker takes on; more is refused with 503 and Retry-After. */
    max_requests_in_flight: integer(10_000, 1, 10_000_000),
    /** Of one connection, behind the one that is being answered. */
    max_pipelined_requests: integer(100, 1, 10_000),
    max_buffered_bytes: size(512 * 1024 * 1024),
    /** Milliseconds that a worker's loop may be late on average. */
    max_loop_lag_ms: integer(500, 10, 3_600_000),
    /** The Server header of the admin API, by which clients choose their dialect. */
    admin_server: text('APISIX/3.18.0', 'a product and its version', /^[!-~]+$/),
    /** MiB of JavaScript heap of each worker. */
    worker_heap_mb: integer(2_048, 64, 1_048_576),
    /** Bytes of decision records that each worker keeps for whoever asks; 0 for none. */
    explain: checked(size(8 * 1024 * 1024), bytes =>
      bytes === 0 || (bytes >= 2 * MIN_RING && bytes <= 2 ** 30) ? undefined : 'expected 0, or a size from 64k to 1g',
    ),
    /** Whoever shows it sees what a request went through. Absent or empty: nobody. */
    debug_key: optional(checked(text(undefined), debugKeyFault)),
    /** How long a plugin may take to keep a promise; 0 is for ever. */
    hook_timeout: duration('60s'),
    /** Folders of plugins of the user's own. */
    plugin_dirs: list(text(undefined, 'a folder', /./), []),
    /** Functions in configs: serverless-*-function, filter_func, _meta.pre_function. Who writes configs then writes code. */
    javascript: group({
      enabled: flag(false),
      /** How long a call may take, and MiB of heap of the process in which each worker has them run. */
      timeout: duration('500ms', 1),
      heap_mb: integer(64, 32, 4_096),
    }),
    /** What becomes of requests for which a plugin is configured that this gateway has not. */
    on_unknown_plugin: oneOf(['refuse', 'ignore'], 'refuse'),
    /** How old the configuration may be before /status/ready says no; 0 is any age. */
    stale_after: duration('0'),
    /** Requests may ask for a configuration that is at least as new as a revision (X-Sluice-Min-Revision). */
    min_revision_header: group({
      enabled: flag(false),
      /** Whose requests may; of others the header is passed over. */
      trusted_addresses: list(network(), ['127.0.0.0/8', '::1']),
      /** How long a request waits for it, and how many wait in each worker; the others are refused. */
      wait: duration('2s', 1),
      max_waiting: integer(1_000, 1, 1_000_000),
    }),
  }),
  /** Absent: every plugin that Sluice has. */
  plugins: optional(list(text(undefined, 'the name of a plugin', /./), [])),
})
