// Which traces are recorded (facts core 8.3.22): samplers by the names that APISIX has for them; keeps nothing.
import type { Incoming } from './propagation.ts'

export interface SamplerConfig {
  readonly name: 'always_on' | 'always_off' | 'trace_id_ratio' | 'parent_base'
  readonly options?: {
    readonly fraction?: number
    readonly root?: {
      readonly name?: 'always_on' | 'always_off' | 'trace_id_ratio'
      readonly options?: { readonly fraction?: number }
    }
  }
}

export type Sampler = (traceId: string, incoming: Incoming | undefined) => boolean

export function samplerOf({ name, options = {} }: SamplerConfig): Sampler {
  if (name === 'always_on') return () => true
  if (name === 'always_off') return () => false
  if (name === 'trace_id_ratio') return ratio(options.fraction ?? 0)
  const { name: root = 'always_off', options: rootOptions = {} } = options.root ?? {}
  const undecided = samplerOf({ name: root, options: rootOptions })
  return (traceId, incoming) => incoming?.sampled ?? undecided(traceId, incoming)
}

// Whole numbers end at 2^53.
const DIGITS = 13
const TRACES = 16 ** DIGITS

/** By the end of the id, which is random also where its beginning is a time: all who ask agree on a trace. */
function ratio(fraction: number): Sampler {
  return traceId => Number.parseInt(traceId.slice(-DIGITS), 16) < fraction * TRACES
}
