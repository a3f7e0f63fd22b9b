// An upstream as it is written -> an upstream as it is made; knows neither requests nor stores.
import { hash } from 'node:crypto'
import type { ClientCert } from './proxy/connections.ts'
import { healthChecks } from './proxy/health/checks.ts'
import type { HttpUpstreamConfig } from './proxy/http-upstream.ts'
import type { Timeout } from './resource/attributes.ts'
import type { Ssl, Upstream } from './resource.ts'
import { isReference } from './schema.ts'

const TIMEOUT: Timeout = { connect: 60, send: 60, read: 60 }

/** `timeout` is the route's, which wins. */
export function upstreamConfig(upstream: Upstream, timeout: Timeout | undefined): HttpUpstreamConfig {
  const { tls, keepalive_pool: pool, checks } = upstream
  return {
    scheme: upstream.scheme,
    nodes: upstream.service_name === undefined ? (upstream.nodes ?? []) : { service: upstream.service_name },
    balancing: { type: upstream.type, hashOn: upstream.hash_on, key: upstream.key ?? '' },
    retries: upstream.retries,
    retryTimeout: upstream.retry_timeout ?? 0,
    timeout: timeout ?? upstream.timeout ?? TIMEOUT,
    passHost: upstream.pass_host,
    upstreamHost: upstream.upstream_host,
    keepAlive: pool && { size: pool.size, idleMs: pool.idle_timeout * 1000, requests: pool.requests },
    verify: tls?.verify ?? false,
    clientCert: tls && shown(tls),
    checks: checks && healthChecks(checks),
  }
}

function shown({
  client_cert,
  client_key,
  client_cert_id,
}: NonNullable<Upstream['tls']>): HttpUpstreamConfig['clientCert'] {
  if (client_cert_id !== undefined) return 'named'
  return client_cert === undefined ? undefined : clientCert(client_cert, client_key!)
}

/** The certificate that an SSL object has for upstreams; undefined when it has none, or none that is known (facts core 3.8). */
export function clientCertOf({ type, cert, key }: Ssl): ClientCert | undefined {
  return type !== 'client' || isReference(cert) || isReference(key) ? undefined : clientCert(cert, key)
}

function clientCert(cert: string, key: string): ClientCert {
  return { id: hash('sha256', cert, 'base64'), cert, key }
}
