// What the configuration says of families: their buckets, and labels whose values are variables of the request; counts nothing.
import type { Context } from '../context.ts'
import { ClientValues, short } from './client-values.ts'
import { loggedGetter } from './logged-variable.ts'

/** As it is written (plugin_attr.prometheus, facts core 7.2); plain data. */
export interface FamilySettings {
  readonly extraLabels?: readonly ExtraLabel[]
  readonly buckets?: readonly number[] | undefined
  /** A series that has not moved for so long goes; 0 is never. */
  readonly expireMs?: number
}

/** `variable` is without its dollar. */
export interface ExtraLabel {
  readonly label: string
  readonly variable: string
}

/** By the name of the family. */
export type MetricSettings = Readonly<Record<string, FamilySettings>>

export interface FamilyTraits {
  /** Labels that stand behind the family's own. */
  readonly extra: readonly { readonly label: string; readonly source: LabelSource }[]
  /** In the place of the family's own. */
  readonly buckets: readonly number[] | undefined
  /** Its series go when they have not moved for a while. */
  readonly expires: boolean
}

/** Each may be chosen by clients, but it was asked for by name: more than models may have. */
const MAX_VALUES = 1_000

/** A variable as a label: without known credentials, in at most 128 bytes, and one of a thousand. */
export class LabelSource {
  readonly #get: ReturnType<typeof loggedGetter>
  readonly #values = new ClientValues(MAX_VALUES)
  readonly #now: () => number
  /** When the first of its values came, and after how many milliseconds there may be others. */
  #since: number
  readonly #renewMs: number

  constructor(variable: string, renewMs: number, now: () => number) {
    this.#get = loggedGetter(variable)
    this.#renewMs = renewMs
    this.#now = now
    this.#since = now()
  }

  /** What it is now; empty when it has no value. */
  of(ctx: Context): string {
    return short(String(this.#get(ctx) ?? ''))
  }

  /** That, or `other` when there were too many before it. */
  bounded(value: string): string {
    const known = this.#values.bounded(value)
    if (known === value || this.#now() - this.#since < this.#renewMs) return known
    this.#since = this.#now()
    this.#values.forget()
    return this.#values.bounded(value)
  }
}

const plain: FamilyTraits = { extra: [], buckets: undefined, expires: false }

/** The traits of any family by its name; labels of one variable have one source. `now` is in milliseconds. */
export function familyTraits(settings: MetricSettings, now = () => performance.now()): (name: string) => FamilyTraits {
  const sources = new Map<string, LabelSource>()
  const sourceOf = (variable: string) => {
    const source = sources.get(variable) ?? new LabelSource(variable, renewal(settings, variable), now)
    sources.set(variable, source)
    return source
  }
  const traits = new Map(
    Object.entries(settings).map(([name, { extraLabels = [], buckets, expireMs = 0 }]): [string, FamilyTraits] => [
      name,
      {
        extra: extraLabels.map(({ label, variable }) => ({ label, source: sourceOf(variable) })),
        buckets,
        expires: expireMs > 0,
      },
    ]),
  )
  return name => traits.get(name) ?? plain
}

/** How long until the series that have a variable's values now can all be gone: for ever where some never go. */
function renewal(settings: MetricSettings, variable: string): number {
  const having = Object.values(settings).filter(each => each.extraLabels?.some(extra => extra.variable === variable))
  return Math.max(...having.map(({ expireMs }) => expireMs || Number.POSITIVE_INFINITY))
}
