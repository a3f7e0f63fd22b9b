// What a family may be called and have, so that no plugin can spoil the page or fill memory; counts nothing.
import type { FamilySpec } from './metrics-family.ts'

const NAME = /^[a-zA-Z_:][\w:]*$/
// What begins so is Prometheus's own, and `le` is a histogram's.
const LABEL = /^(?!__|le$)[a-zA-Z_]\w*$/
const LONGEST_NAME = 200
const LONGEST_HELP = 1_000
const MAX_LABELS = 50
const MAX_BUCKETS = 100
/** What stands behind a histogram's name on the page. */
const SUFFIXES = ['_bucket', '_sum', '_count']

/** Why a family cannot be beside those that there are, by name; undefined when it can. */
export function declarationProblem(
  { name, help, type, labels, buckets = [] }: FamilySpec,
  others: ReadonlyMap<string, { readonly spec: Pick<FamilySpec, 'type'> }>,
): string | undefined {
  if (!NAME.test(name) || name.length > LONGEST_NAME) return 'this can be no name'
  if (help.length > LONGEST_HELP) return `its help is longer than ${LONGEST_HELP} characters`
  if (labels.length > MAX_LABELS) return `it has more than ${MAX_LABELS} labels`
  const bad = labels.find(label => !LABEL.test(label) || label.length > LONGEST_NAME)
  if (bad !== undefined) return 'one of its labels can have no such name'
  if (new Set(labels).size < labels.length) return 'it has a label twice'
  if (buckets.length > MAX_BUCKETS) return `it has more than ${MAX_BUCKETS} buckets`
  const hidden = SUFFIXES.some(suffix => type === 'histogram' && others.has(name + suffix))
  const hides = SUFFIXES.some(
    suffix => name.endsWith(suffix) && others.get(name.slice(0, -suffix.length))?.spec.type === 'histogram',
  )
  return hidden || hides ? 'a histogram has a series of this name' : undefined
}
