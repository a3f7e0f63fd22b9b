// How often hooks of plugins fail, by plugin; knows no plugin.
import { GatewayError } from '../errors.ts'
import { PluginTimeout } from '../hook-clock.ts'
import type { Counter, Metrics } from './metrics.ts'

export class PluginFailures {
  readonly #failures: Counter

  constructor(metrics: Metrics) {
    this.#failures = metrics.counter('sluice_plugin_failures_total', 'Hooks that failed, by plugin and reason', [
      'plugin',
      'reason',
    ])
  }

  /** A hook of `plugin` threw. What it meant to throw, an error with a status of its own, is no failure. */
  failed(plugin: string, error: unknown): void {
    if (error instanceof PluginTimeout) this.#failures.add([plugin, 'timeout'])
    else if (!(error instanceof GatewayError)) this.#failures.add([plugin, 'error'])
  }
}
