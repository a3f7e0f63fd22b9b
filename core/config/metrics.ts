// plugin_attr.prometheus: which families may have labels of their own, and buckets (facts core 7.2, ai-plugins 19.1).
import type { ExtraLabel, FamilySettings, MetricSettings } from '../observe/family-traits.ts'
import { type RequestFamilyName, requestFamilies } from '../observe/request-families.ts'
import { checked, integer, isGroup, type Key, list, type Place, shown, unwrap } from './key.ts'

const NAMES = Object.keys(requestFamilies) as RequestFamilyName[]
const LABEL = /^(?!__)[a-zA-Z_]\w*$/
/** Each is in every series of its family. */
const MAX_EXTRA = 20
/** Each is a number in every series of its family. */
const MAX_BUCKETS = 100

/** `{label: $variable}`. */
const extraLabel: Key<ExtraLabel> = {
  fallback: undefined,
  read(raw, at) {
    const [label, ...others] = isGroup(raw) ? Object.keys(raw) : []
    if (label === undefined || others.length > 0 || !isGroup(raw))
      return at.fail('expected one label and its variable, such as {upstream: $upstream_addr}')
    if (!LABEL.test(label) || label === 'le') return at.fail(`${shown(label)} can be no name of a label`)
    const [, variable] = /^\$(\w+)$/.exec(String(unwrap(raw[label]))) ?? []
    return variable === undefined
      ? at.key(label).fail('expected a variable such as $upstream_addr')
      : { label, variable }
  },
}

const extraLabels = checked(list(extraLabel, []), labels =>
  labels.length > MAX_EXTRA ? `expected at most ${MAX_EXTRA} labels` : undefined,
)

function extraLabelsOf(name: RequestFamilyName, raw: unknown, at: Place): readonly ExtraLabel[] {
  const found = extraLabels.read(raw ?? [], at)
  const own: readonly string[] = requestFamilies[name].labels
  for (const [index, { label }] of found.entries()) {
    if (own.includes(label)) at.item(index).fail(`the family has a label ${label} already`)
    if (found.findIndex(other => other.label === label) < index)
      at.item(index).fail(`the label ${label} stands here twice`)
  }
  return found
}

/** Settings by family; keys of families that there are elsewhere are strangers. */
export const familySettings: Key<MetricSettings> = {
  fallback: {},
  none: { value: {} },
  read(raw, at) {
    if (!isGroup(raw)) return at.fail(`expected settings by family, got ${shown(raw)}`)
    const names = NAMES.filter(name => isGroup(raw[name]))
    for (const key of Object.keys(raw)) {
      if (raw[key] === null) continue
      if (!NAMES.some(name => name === key)) at.stranger(key, raw[key], NAMES)
      else if (!isGroup(raw[key])) at.key(key).fail('expected a group of keys')
    }
    return Object.fromEntries(names.map(name => [name, settingsOf(name, raw[name], at.key(name))]))
  },
}

const KEYS = ['extra_labels', 'expire']
/** Seconds; 0 is never. */
const expire = integer(0, 0, 24 * 86_400)

function settingsOf(name: RequestFamilyName, raw: unknown, at: Place): FamilySettings {
  const written = raw as Record<string, unknown>
  for (const key of Object.keys(written)) if (!KEYS.includes(key)) at.stranger(key, written[key], KEYS)
  return {
    extraLabels: extraLabelsOf(name, written.extra_labels, at.key('extra_labels')),
    expireMs: expire.read(written.expire ?? 0, at.key('expire')) * 1000,
  }
}

/** Upper bounds in ascending order, without infinity. */
export const buckets: Key<readonly number[]> = checked(
  list(
    {
      fallback: undefined,
      read(raw, at) {
        const value = unwrap(raw)
        return typeof value === 'number' && Number.isFinite(value)
          ? value
          : at.fail(`expected a number, got ${shown(raw)}`)
      },
    },
    [],
  ),
  bounds => {
    if (bounds.length === 0 || bounds.length > MAX_BUCKETS) return `expected 1 to ${MAX_BUCKETS} upper bounds`
    return bounds.every((bound, at) => at === 0 || bound > bounds[at - 1]!) ? undefined : 'expected ascending bounds'
  },
)
