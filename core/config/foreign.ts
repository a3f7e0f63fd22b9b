// Keys of APISIX's that this version does not act on: for each, whether it may stand in the file, and what to say about it.

import { isDeepStrictEqual } from 'node:util'

/** Why, and the values that ask for nothing Sluice does not do anyway and so are not worth a word. null always is one. */
type Foreign = string | readonly [why: string, ...harmless: unknown[]]

const NO_CACHE = 'the plugin ai-cache is not in this version'

/** They tune machinery that is not here; nothing that is served, allowed or recorded depends on them: one warning each. */
const ineffective: Readonly<Record<string, Foreign>> = {
  'apisix.enable_dev_mode': ['there is one worker anyway', false],
  'apisix.enable_reuseport': 'how listening sockets are shared is not configurable',
  'apisix.extra_lua_path': ['Lua does not run here', ''],
  'apisix.extra_lua_cpath': ['Lua does not run here', ''],
  'apisix.enable_http2': ['only HTTP/1.1 is spoken in this version', false],
  'apisix.proxy_cache': 'the plugin proxy-cache is not in this version',
  'apisix.router.ssl': 'there are no TLS listeners in this version',
  'apisix.ssl.ssl_protocols': 'there are no TLS listeners in this version',
  'apisix.ssl.ssl_ciphers': 'there are no TLS listeners in this version',
  'apisix.ssl.ssl_session_tickets': ['there are no TLS listeners in this version', false],
  'apisix.ssl.fallback_sni': 'there are no TLS listeners in this version',
  'apisix.control.router': 'the control API has one router',
  'apisix.disable_sync_configuration_during_start': ['workers are ready when they have their configuration', false],
  'apisix.worker_startup_time_threshold': 'workers are ready when they have their configuration',
  'apisix.lru': 'there are no such caches here',
  'apisix.tracing': ['`phases` of the plugin opentelemetry says which routes have spans of phases', false],
  'nginx_config.envs': ['the environment needs no list here', []],
  'nginx_config.worker_rlimit_nofile': 'raise the limit where the process is started (ulimit -n)',
  'nginx_config.enable_cpu_affinity': ['nginx does not run here', false],
  'nginx_config.meta': 'there are no shared dictionaries here',
  'nginx_config.stream': 'there is no stream proxy in this version',
  'nginx_config.http.lua_shared_dict': 'there are no shared dictionaries here',
  'nginx_config.http.custom_lua_shared_dict': 'there are no shared dictionaries here',
  'nginx_config.http.charset': ["the gateway's own texts are UTF-8", 'utf-8'],
  'nginx_config.http.variables_hash_max_size': 'nginx does not run here',
  'deployment.etcd.watch_timeout': ['a watch lives as long as its connection does', 50],
  'deployment.etcd.resync_delay': ['a watch is resumed at once, and then more and more slowly', 5],
  'deployment.admin.enable_admin_ui': ['no dashboard is embedded', false],
  'plugin_attr.prometheus.refresh_interval': 'metrics are always current',
  'plugin_attr.prometheus.ai_cache_embedding_latency_buckets': NO_CACHE,
  'plugin_attr.prometheus.metrics.ai_cache_hits_total': NO_CACHE,
  'plugin_attr.prometheus.metrics.ai_cache_misses_total': NO_CACHE,
  'plugin_attr.prometheus.metrics.ai_cache_bypasses_total': NO_CACHE,
  'plugin_attr.prometheus.metrics.ai_cache_embedding_latency': NO_CACHE,
  'plugin_attr.prometheus.metrics.upstream_status': [
    'its series are there as long as the nodes they tell of are checked',
    { expire: 0 },
  ],
  'plugin_attr.ai-proxy': 'there is one HTTP client',
  'plugin_attr.opentelemetry': 'as in APISIX 3.18 the metadata of the plugin say it',
  'plugin_attr.proxy-mirror': 'the plugin is not in this version',
  'plugin_attr.redirect': 'the plugin is not in this version',
  'plugin_attr.log-rotate': 'the plugin is not in this version',
  'plugin_attr.skywalking': 'the plugin is not in this version',
  'plugin_attr.server-info': 'the plugin is not in this version',
  'plugin_attr.dubbo-proxy': 'the plugin is not in this version',
  'plugin_attr.inspect': 'the plugin is not in this version',
  'plugin_attr.zipkin': 'the plugin is not in this version',
  graphql: 'GraphQL is not matched on in this version',
  stream_plugins: 'there is no stream proxy in this version',
}

const ONLY_DNS = 'services are discovered by DNS only'

/** To go on without them would change who is served, by what, or what is recorded: refused by name. */
const notServed: Readonly<Record<string, Foreign>> = {
  'apisix.lua_module_hook': ['Lua does not run here', ''],
  'apisix.proxy_protocol': 'listeners would take its header for a request',
  'apisix.stream_proxy': 'only HTTP is proxied',
  'apisix.delete_uri_tail_slash': ['the router has no such mode', false],
  'apisix.normalize_uri_like_servlet': ['the router has no such mode', false],
  'apisix.match_uri_encoded_slash': ['the router has no such mode', false],
  'apisix.ssl.enable': ['there are no TLS listeners', false],
  'apisix.ssl.listen': ['there are no TLS listeners', []],
  'apisix.ssl.ssl_trusted_certificate': ['set NODE_EXTRA_CA_CERTS to trust more than the usual authorities', 'system'],
  'nginx_config.user': 'start the process as that user',
  'nginx_config.main_configuration_snippet': ['nginx does not run here', ''],
  'nginx_config.http_configuration_snippet': ['nginx does not run here', ''],
  'nginx_config.http_server_configuration_snippet': ['nginx does not run here', ''],
  'nginx_config.http_server_location_configuration_snippet': ['nginx does not run here', ''],
  'nginx_config.http_admin_configuration_snippet': ['nginx does not run here', ''],
  'nginx_config.http_end_configuration_snippet': ['nginx does not run here', ''],
  'nginx_config.stream_configuration_snippet': ['nginx does not run here', ''],
  'nginx_config.http.underscores_in_headers': ['header names with underscores are passed on', 'on'],
  'nginx_config.http.proxy_ssl_server_name': ['upstreams always learn the server name', true],
  'discovery.dns.resolv_conf': 'name the servers in discovery.dns.servers',
  'discovery.dns.order': ['SRV records are asked for first, then A, then AAAA', ['last', 'SRV', 'A', 'AAAA', 'CNAME']],
  'discovery.consul': ONLY_DNS,
  'discovery.consul_kv': ONLY_DNS,
  'discovery.nacos': ONLY_DNS,
  'discovery.eureka': ONLY_DNS,
  'discovery.kubernetes': ONLY_DNS,
  'discovery.tars': ONLY_DNS,
  wasm: 'WebAssembly plugins do not run here',
  xrpc: 'only HTTP is proxied',
  'ext-plugin': 'external plugin runners are not started',
}

export interface Judgement {
  readonly verdict: 'refused' | 'ineffective' | 'harmless'
  readonly why: string
}

/** What to do about a key at this path with this value; undefined when it is not one of APISIX's. */
export function judge(path: string, value: unknown): Judgement | undefined {
  const refused = Object.hasOwn(notServed, path)
  if (!refused && !Object.hasOwn(ineffective, path)) return undefined
  const [why, ...harmless] = [refused ? notServed[path] : ineffective[path]].flat() as [string, ...unknown[]]
  if (value === null || harmless.some(each => isDeepStrictEqual(each, value))) return { verdict: 'harmless', why }
  return { verdict: refused ? 'refused' : 'ineffective', why }
}

/** The names of APISIX's keys and groups directly below a path. */
export function foreignBelow(path: string): string[] {
  const prefix = path === '' ? '' : `${path}.`
  const below = [...Object.keys(notServed), ...Object.keys(ineffective)].filter(each => each.startsWith(prefix))
  return [...new Set(below.map(each => each.slice(prefix.length).replace(/\..*/s, '')))]
}
