// What of the configuration concerns the workers, as they are told it.
import type { Config, LoadedConfig } from './config.ts'
import type { Address } from './listener.ts'
import type { AccessLogSettings } from './observe/access-log.ts'
import type { MetricSettings } from './observe/family-traits.ts'
import type { OwnPlugins } from './plugin-code/own-plugins.ts'
import type { WorkerSettings } from './workers/messages.ts'

// The log phase waits this long for a hook that has not returned when its response is long closed.
const TURN_GRACE_MS = 5_000
// As in nginx: 4 buffers of 8 KiB for the head of a request.
const MAX_HEADER_SIZE = 32 * 1024
const MAX_HEADER_FIELDS = 1_000

/** `listen` are the data plane's addresses with real ports. */
export function workerSettings(
  { config, debugMode }: Pick<LoadedConfig, 'config' | 'debugMode'>,
  listen: readonly Address[],
  plugins: Pick<OwnPlugins, 'enabled' | 'code'>,
): WorkerSettings {
  const { apisix, nginxConfig } = config
  const { http } = nginxConfig
  const { javascript } = config.sluice
  const { enabled, trustedAddresses: trusted, wait, maxWaiting } = config.sluice.minRevisionHeader
  return {
    listen,
    limits: {
      headerTimeout: http.clientHeaderTimeout,
      // A body is limited by the time between two pieces of it, not as a whole.
      requestTimeout: 0,
      bodyTimeout: http.clientBodyTimeout,
      keepAliveTimeout: http.keepaliveTimeout,
      maxHeaderSize: MAX_HEADER_SIZE,
      maxHeaderFields: MAX_HEADER_FIELDS,
      maxConnections: nginxConfig.event.workerConnections,
      maxPipelined: config.sluice.maxPipelinedRequests,
      maxBodySize: http.clientMaxBodySize,
      sendTimeout: http.sendTimeout,
      hookTimeout: config.sluice.hookTimeout,
      turnGrace: TURN_GRACE_MS,
    },
    overload: {
      maxRequestsInFlight: config.sluice.maxRequestsInFlight,
      maxBufferedBytes: config.sluice.maxBufferedBytes,
      maxLoopLag: config.sluice.maxLoopLagMs,
    },
    forwarding: {
      trusted: apisix.trustedAddresses,
      realIp: { header: http.realIpHeader, from: http.realIpFrom, recursive: http.realIpRecursive },
    },
    minRevision: enabled ? { trusted, wait, maxWaiting } : undefined,
    names: {
      servers: apisix.dnsResolver,
      serviceServers: config.discovery.dns.servers,
      validMs: apisix.dnsResolverValid,
      timeoutMs: apisix.resolverTimeout,
      search: apisix.enableResolvSearchOpt,
      ipv6: apisix.enableIpv6,
    },
    deniedAddresses: config.sluice.denyUpstreamCidrs,
    gcpServiceAccount: config.sluice.gcpServiceAccount,
    keepAlive: {
      size: http.upstream.keepalive,
      idleMs: http.upstream.keepaliveTimeout,
      requests: http.upstream.keepaliveRequests,
    },
    healthChecks: !apisix.disableUpstreamHealthcheck,
    serverName: serverName(config),
    showUpstreamStatus: apisix.showUpstreamStatusInResponseHeader,
    heapMb: config.sluice.workerHeapMb,
    router: apisix.router.http,
    maxPostArgs: apisix.maxPostArgsReadableSize * 2 ** 20 || Number.POSITIVE_INFINITY,
    plugins: [...plugins.enabled.keys()],
    code: plugins.code,
    onUnknownPlugin: config.sluice.onUnknownPlugin,
    javascript: javascript.enabled ? { timeout: javascript.timeout, heapMb: javascript.heapMb } : undefined,
    metrics: metricSettings(config),
    metricsPage: config.pluginAttr.prometheus.enableExportServer ? undefined : config.pluginAttr.prometheus.exportUri,
    explain: config.sluice.explain,
    debugKey: config.sluice.debugKey,
    debugMode,
    log: { level: logLevel(config), file: nginxConfig.errorLog },
    accessLog: accessLog(http),
  }
}

/** The value by which APISIX's clients choose their dialect (facts clients). */
export function serverName(config: Config): string {
  return config.apisix.enableServerTokens ? 'APISIX/3.18.0' : 'APISIX'
}

/** What is said of families, and the buckets, which are said elsewhere. */
export function metricSettings({ pluginAttr: { prometheus } }: Config): MetricSettings {
  const buckets: Readonly<Record<string, readonly number[] | undefined>> = {
    http_latency: prometheus.defaultBuckets,
    llm_latency: prometheus.llmLatencyBuckets,
    llm_prompt_tokens_dist: prometheus.llmPromptTokensBuckets,
    llm_completion_tokens_dist: prometheus.llmCompletionTokensBuckets,
  }
  const names = new Set([...Object.keys(prometheus.metrics), ...Object.keys(buckets)])
  return Object.fromEntries([...names].map(name => [name, { ...prometheus.metrics[name], buckets: buckets[name] }]))
}

function accessLog(http: Config['nginxConfig']['http']): AccessLogSettings | undefined {
  const { enableAccessLog, accessLog: path } = http
  if (!enableAccessLog || path === undefined) return undefined
  return { path, format: http.accessLogFormat, escape: http.accessLogFormatEscape, buffer: http.accessLogBuffer }
}

/** nginx's level as the log's. */
export function logLevel({ nginxConfig }: Config): string {
  const ours: Partial<Record<string, string>> = { notice: 'info', crit: 'fatal', alert: 'fatal', emerg: 'fatal' }
  return ours[nginxConfig.errorLogLevel] ?? nginxConfig.errorLogLevel
}
