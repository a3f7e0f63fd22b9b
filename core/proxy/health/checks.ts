// What `checks` of an upstream ask for, complete (facts core 3.4): plain data, so that it can be posted to another thread.

export type CheckType = 'http' | 'https' | 'tcp'

/** How often in a row something must happen to change a target's health; 0 means that it does not count. */
export interface FailureLimits {
  http: number
  tcp: number
  timeout: number
}

export interface ActiveChecks {
  type: CheckType
  timeoutMs: number
  /** Probes of one upstream at once. */
  concurrency: number
  host: string | undefined
  /** In the place of the node's own. */
  port: number | undefined
  method: string
  path: string
  body: string
  /** https: a certificate that does not verify is a failure. */
  verify: boolean
  /** Flat name, value list. */
  headers: readonly string[]
  /** `intervalMs` 0: targets in that state are not probed. */
  healthy: { intervalMs: number; statuses: readonly number[]; successes: number }
  unhealthy: { intervalMs: number; statuses: readonly number[]; limits: FailureLimits }
}

export interface PassiveChecks {
  type: CheckType
  healthy: { statuses: readonly number[]; successes: number }
  unhealthy: { statuses: readonly number[]; limits: FailureLimits }
}

export interface HealthChecks {
  active: ActiveChecks
  passive: PassiveChecks | undefined
  /** How long a target that came back takes to get its whole share. */
  slowStartMs: number
}

/** `checks` as it is written: schema defaults are filled in the objects that are there, and only there. */
export interface WrittenChecks {
  active: {
    type?: CheckType
    timeout?: number
    concurrency?: number
    host?: string
    port?: number
    http_method?: string
    http_path?: string
    http_req_body?: string
    https_verify_certificate?: boolean
    req_headers?: string[]
    healthy?: { interval?: number; http_statuses?: number[]; successes?: number }
    unhealthy?: WrittenFailures & { interval?: number }
  }
  passive?: {
    type?: CheckType
    healthy?: { http_statuses?: number[]; successes?: number }
    unhealthy?: WrittenFailures
  }
  slow_start?: number
}

interface WrittenFailures {
  http_statuses?: number[]
  http_failures?: number
  tcp_failures?: number
  timeouts?: number
}

const PASSIVE_GOOD = [200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 306, 307, 308]

/** The checks with every default. Where `healthy` or `unhealthy` is absent, targets in that state are not probed. */
export function healthChecks({ active, passive, slow_start = 0 }: WrittenChecks): HealthChecks {
  const { healthy, unhealthy } = active
  return {
    active: {
      type: active.type ?? 'http',
      timeoutMs: (active.timeout ?? 1) * 1000,
      concurrency: active.concurrency ?? 10,
      host: active.host,
      port: active.port,
      method: active.http_method ?? 'GET',
      path: active.http_path ?? '/',
      body: active.http_req_body ?? '',
      verify: active.https_verify_certificate ?? true,
      headers: (active.req_headers ?? []).flatMap(splitField),
      healthy: {
        intervalMs: healthy === undefined ? 0 : (healthy.interval ?? 1) * 1000,
        statuses: healthy?.http_statuses ?? [200, 302],
        successes: healthy?.successes ?? 2,
      },
      unhealthy: {
        intervalMs: unhealthy === undefined ? 0 : (unhealthy.interval ?? 1) * 1000,
        statuses: unhealthy?.http_statuses ?? [429, 404, 500, 501, 502, 503, 504, 505],
        limits: limitsOf(unhealthy, { http: 5, tcp: 2, timeout: 3 }),
      },
    },
    passive: passive && {
      type: passive.type ?? 'http',
      healthy: {
        statuses: passive.healthy?.http_statuses ?? PASSIVE_GOOD,
        successes: passive.healthy?.successes ?? 5,
      },
      unhealthy: {
        statuses: passive.unhealthy?.http_statuses ?? [429, 500, 503],
        limits: limitsOf(passive.unhealthy, { http: 5, tcp: 2, timeout: 7 }),
      },
    },
    slowStartMs: slow_start * 1000,
  }
}

function limitsOf(written: WrittenFailures | undefined, fallback: FailureLimits): FailureLimits {
  return {
    http: written?.http_failures ?? fallback.http,
    tcp: written?.tcp_failures ?? fallback.tcp,
    timeout: written?.timeouts ?? fallback.timeout,
  }
}

/** `Name: value` as a pair. */
function splitField(field: string): string[] {
  const colon = field.indexOf(':')
  return [field.slice(0, colon), field.slice(colon + 1).trim()]
}
