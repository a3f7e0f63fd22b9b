// Who is measured: a name, where it is asked, and whose CPU time and memory that costs.
import type { Target } from './workload.ts'

export interface Contender {
  readonly name: string
  readonly target: Target
  /** The root of its process tree; undefined when that is not known, and cost with it. */
  readonly pid: number | undefined
}

/** The one that the others are compared with. */
export const FLOOR = 'floor'
/** Load straight on the mock: what is added by whoever stands between is the difference. */
export const DIRECT = 'direct'

/** A program that was started to be measured, with what there is to measure. */
export interface Started extends AsyncDisposable {
  readonly contenders: readonly Contender[]
}
