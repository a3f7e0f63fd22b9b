// What the configuration says of families: their buckets, and labels whose values are variables of the request; counts nothing.
import type { Context } from '../context.ts'
import { ClientValues, short } from './client-values.ts'
import { loggedGetter } from './logged-variable.ts'

/** As it is written (plugin_attr.prometheus, facts core 7.2); plain data. */
export interface FamilySettings {
  readonly extraLabels: readonly ExtraLabel[]
  readonly buckets?: readonly number[] | undefined
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
}

/** Each may be chosen by clients, but it was asked for by name: more than models may have. */
const MAX_VALUES = 1_000

/** A variable as a label: without known credentials, in at most 128 bytes, and one of a thousand. */
export class LabelSource {
  readonly #get: ReturnType<typeof loggedGetter>
  readonly #values = new ClientValues(MAX_VALUES)

  constructor(variable: string) {
    this.#get = loggedGetter(variable)
  }

  /** What it is now; empty when it has no value. */
  of(ctx: Context): string {
    return short(String(this.#get(ctx) ?? ''))
  }

  /** That, or `other` when there were too many before it. */
  bounded(value: string): string {
    return this.#values.bounded(value)
  }
}

const plain: FamilyTraits = { extra: [], buckets: undefined }

/** The traits of any family by its name; labels of one variable have one source. */
export function familyTraits(settings: MetricSettings): (name: string) => FamilyTraits {
  const sources = new Map<string, LabelSource>()
  const sourceOf = (variable: string) => {
    const source = sources.get(variable) ?? new LabelSource(variable)
    sources.set(variable, source)
    return source
  }
  const traits = new Map(
    Object.entries(settings).map(([name, { extraLabels, buckets }]): [string, FamilyTraits] => [
      name,
      { extra: extraLabels.map(({ label, variable }) => ({ label, source: sourceOf(variable) })), buckets },
    ]),
  )
  return name => traits.get(name) ?? plain
}
