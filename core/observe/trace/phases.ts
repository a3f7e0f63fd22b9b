// The phases of a request by the trail that it has left (core/explain): when each began and ended; knows no span.
import type { Context } from '../../context.ts'
import { STEPS, type StepName } from '../../explain/trail.ts'

export interface Phase {
  readonly name: StepName
  /** Hooks that have run in it. */
  readonly hooks: number
  /** On the monotonic clock; a phase ends when the next step of the request begins. */
  readonly from: number
  readonly to: number
}

/** What stands between hooks: whoever answers has spans of its own. */
const NO_PHASES: readonly StepName[] = ['upstream', 'answer', 'head', 'log']

/** Those that are over, in the order in which they began; none where nobody keeps trails. A body's filters run more than once. */
export function* phasesOf({ trail, endTick }: Pick<Context, 'trail' | 'endTick'>): Iterable<Phase> {
  if (trail === undefined) return
  for (let step = 0; step < trail.size; ) {
    const code = trail.code(step)
    let next = step + 1
    while (next < trail.size && trail.code(next) === code) next++
    const name = STEPS[code]
    const to = next < trail.size ? trail.tick(next) : endTick
    if (name !== undefined && !NO_PHASES.includes(name)) {
      const from = trail.tick(step)
      yield { name, hooks: next - step, from, to: Math.max(from, to) }
    }
    step = next
  }
}
