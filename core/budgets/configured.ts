// Budgets as the configuration has them now, used or not; knows no account.
import type { RedisServers } from '../ledger/ledgers.ts'
import { serversOf } from '../limits/backing.ts'
import type { Logger } from '../observe/log.ts'
import type { Plugin } from '../plugin.ts'
import { configProblem, fillPlugin } from '../resource/plugin-configs.ts'
import { fillMetadata, resourceProblem } from '../resource.ts'
import { isObject } from '../schema.ts'
import { inSlices, steps } from '../slices.ts'
import { follow } from '../store/follow.ts'
import type { ConfigSource, Item } from '../store/store.ts'
import type { Budget } from './budget.ts'
import { type BudgetConfig, budgetOf } from './budget-config.ts'
import { type Alerts, alertsOf, type BudgetMetadata } from './metadata.ts'

export interface Defined {
  readonly budget: Budget
  readonly principal: BudgetConfig['principal']
  /** Where it is counted; undefined: in the process's own ledger. */
  readonly servers: RedisServers | undefined
  readonly alerts: Alerts
}

export interface ConfiguredBudgetsOptions {
  /** In clear, with what references stand for. */
  source: ConfigSource
  plugins: ReadonlyMap<string, Plugin>
  log: Logger
}

const PLUGIN = 'ai-budget'

/** What of the plugin's config is looked at here. */
interface Config {
  budgets: BudgetConfig[]
  policy: string
  allow_degradation: boolean
}

export class ConfiguredBudgets {
  /** Stops following. */
  readonly close: () => void
  readonly #plugins: ReadonlyMap<string, Plugin>
  /** Items that use the plugin, and its metadata, by kind and id. */
  readonly #items = new Map<string, Item>()
  #known: ReadonlyMap<string, Defined> | undefined

  /** Follows `source` until it is closed. */
  constructor({ source, plugins, log }: ConfiguredBudgetsOptions) {
    this.#plugins = plugins
    this.close = follow(source, {
      listed: async items => {
        this.#items.clear()
        await inSlices(steps(items, item => this.#take(item.kind, item.id, item)))
        this.#known = undefined
      },
      changed: changes => {
        for (const { kind, id, item } of changes) this.#take(kind, id, item)
      },
      failed: err => log.warn({ err }, 'budgets could not be listed; trying again'),
    })
  }

  /** By name. Of several that are written differently under one name, one. */
  get known(): ReadonlyMap<string, Defined> {
    this.#known ??= this.#define()
    return this.#known
  }

  #take(kind: string, id: string, item: Item | undefined): void {
    const key = `${kind}/${id}`
    const uses = item !== undefined && (kind === 'plugin_metadata' ? id === PLUGIN : usesPlugin(item))
    if (!uses && !this.#items.has(key)) return
    this.#known = undefined
    if (uses) this.#items.set(key, item)
    else this.#items.delete(key)
  }

  #define(): Map<string, Defined> {
    const found = new Map<string, Defined>()
    const plugin = this.#plugins.get(PLUGIN)
    if (plugin === undefined) return found
    const metadata = this.#metadata(plugin)
    const alerts = alertsOf(metadata)
    for (const { kind, value } of this.#items.values()) {
      if (kind === 'plugin_metadata') continue
      const written = (value.plugins as Record<string, unknown>)[PLUGIN]
      if (!isObject(written) || configProblem(plugin, 'config', written) !== undefined) continue
      // A config without a problem is one of the plugin's.
      const config = fillPlugin(plugin, written) as unknown as Config
      const servers = serversOf(config)
      for (const each of config.budgets) {
        const budget = budgetOf(each, metadata?.currency ?? 'USD')
        found.set(each.name, { budget, principal: each.principal, servers, alerts })
      }
    }
    return found
  }

  #metadata(plugin: Plugin): BudgetMetadata | undefined {
    const item = this.#items.get(`plugin_metadata/${PLUGIN}`)
    if (item === undefined || resourceProblem('plugin_metadata', item.value, this.#plugins) !== undefined)
      return undefined
    return fillMetadata(plugin, item.value) as unknown as BudgetMetadata
  }
}

function usesPlugin({ value: { plugins } }: Item): boolean {
  return isObject(plugins) && plugins[PLUGIN] !== undefined
}
