// The plugins that resources may name, and whether configs may hold functions; knows none of them.
import type { Plugin } from './plugin.ts'

/** By name. */
export interface KnownPlugins extends ReadonlyMap<string, Plugin> {
  /** Configs may hold functions (sluice.javascript); no, if nothing is said. */
  readonly javascript?: boolean
}

export class PluginMap extends Map<string, Plugin> implements KnownPlugins {
  readonly javascript: boolean

  constructor(plugins: Iterable<readonly [string, Plugin]>, javascript: boolean) {
    super(plugins)
    this.javascript = javascript
  }
}

/** Plugins whose config is code: they are there only where configs may hold functions. */
const ofFunctions: ReadonlySet<string> = new Set(['serverless-pre-function', 'serverless-post-function'])

export const functionsAreOff =
  'JavaScript in configs is off here, sluice.javascript.enabled allows it (docs/plugins.md)'

export function isOfFunctions(name: string): boolean {
  return ofFunctions.has(name)
}

/** Those of `plugins` that there are. */
export function available(plugins: readonly Plugin[], javascript: boolean): readonly Plugin[] {
  return javascript ? plugins : plugins.filter(({ name }) => !isOfFunctions(name))
}
