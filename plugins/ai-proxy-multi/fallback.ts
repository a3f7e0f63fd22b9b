// Which failures of an instance another one may make good (facts ai-plugins 7.5); knows no instance.
import type { Config } from './config.ts'

/** Whether a failure with that status may be made good by another instance. */
export type MakesGood = (status: number) => boolean

/** Whether instances whose own limit of tokens is reached are passed over (facts ai-plugins 7.3). */
export function mindsLimits({ fallback_strategy }: Config): boolean {
  return Array.isArray(fallback_strategy)
    ? fallback_strategy.includes('rate_limiting')
    : fallback_strategy === 'instance_health_and_rate_limiting'
}

/** Undefined where the config lets nothing be tried again. */
export function makesGood({
  fallback_strategy,
  fallback_http_statuses = [],
  max_retries,
}: Config): MakesGood | undefined {
  const strategies = new Set<unknown>(Array.isArray(fallback_strategy) ? fallback_strategy : [fallback_strategy])
  const statuses = new Set(fallback_http_statuses)
  const on429 = strategies.has('http_429')
  const on5xx = strategies.has('http_5xx')
  if (max_retries === 0 || !(on429 || on5xx || statuses.size > 0)) return undefined
  return status => (on429 && status === 429) || (on5xx && status >= 500 && status <= 599) || statuses.has(status)
}
