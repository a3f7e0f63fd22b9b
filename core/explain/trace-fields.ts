// What a response says of its request to whoever has the debug key: header fields, bounded and of ASCII; knows no bytes of records.
import type { Plan } from '../pipeline.ts'
import type { Decision } from './decision.ts'

export const TRACE_FIELD = 'X-Sluice-Trace'
export const PLUGINS_FIELD = 'Apisix-Plugins'

// Proxies between us and the client take 8 KiB of fields, some only 4.
const MAX_FIELD = 3_000

/**
 * The decision record as one line of JSON, texts in the place of objects in its lists. What is too long for that goes
 * step by step, the candidates of earlier choices first, and `cut` is true then.
 */
export function traceOf(decision: Decision): string {
  const whole = compact(decision)
  const { candidates, ...llm } = whole.llm ?? {}
  const { attempts: _, ...called } = llm as { attempts?: unknown }
  const shorter = [
    whole,
    { ...whole, cut: true, llm: whole.llm && { ...llm, candidates: candidates!.slice(-1) } },
    { ...whole, cut: true, llm: whole.llm && llm },
    { ...whole, cut: true, llm: whole.llm && llm, steps: undefined },
    { ...whole, cut: true, llm: whole.llm && called, steps: undefined, attempts: undefined, holds: undefined },
    { id: whole.id, status: whole.status, cut: true },
  ]
  for (const each of shorter) {
    const text = ascii(JSON.stringify(each))
    if (text.length <= MAX_FIELD) return text
  }
  return '{"cut":true}'
}

/** `name#phase` of every hook in the order of the phases; those that have not run yet are those of the plan (facts core 1.10). */
export function pluginsOf({ steps }: Pick<Decision, 'steps'>, plan: Plan): string {
  const turn = new Set(['rewrite', 'access', 'before_proxy'])
  const ran = steps.flatMap(({ step, plugin }) => (plugin !== undefined && turn.has(step) ? [`${plugin}#${step}`] : []))
  const all = [
    ...ran,
    ...plan.headerFilter.map(({ plugin }) => `${plugin}#header_filter`),
    ...plan.bodyFilter.map(({ plugin }) => `${plugin}#body_filter`),
    ...plan.log.map(({ plugin }) => `${plugin}#log`),
  ]
  let text = all[0] ?? 'no plugin'
  for (const each of all.slice(1)) {
    if (text.length + each.length + 2 > MAX_FIELD) break
    text += `, ${each}`
  }
  return ascii(text)
}

function compact(decision: Decision) {
  const { request_id: id, route, consumer, ms, error, status, source, steps, attempts, llm, holds } = decision
  return {
    id,
    route: route?.id,
    uri: route?.uri,
    host: route?.host || undefined,
    consumer,
    status,
    source,
    error,
    ms,
    cut: decision.is_cut || undefined,
    steps: steps.map(({ step, plugin, ms: took, verdict }) =>
      words([plugin === undefined ? step : `${plugin}#${step}`, took, verdict === 'passed' ? undefined : verdict]),
    ),
    attempts: attempts.map(each => words([each.address, each.status ?? '-', each.ms ?? each.header_ms, each.fault])),
    llm: llm && {
      protocol: llm.protocol,
      converted_to: llm.converted_to,
      model: llm.model,
      attempts: llm.attempts.map(each => words([each.instance, each.status ?? '-', each.ms, each.reason])),
      candidates: llm.candidates.map(choice =>
        choice.map(({ instance, priority, weight, score, skipped }) => {
          const about = words([`priority ${priority}`, `weight ${weight}`, score === undefined ? '' : `score ${score}`])
          return `${instance} (${about}): ${skipped ?? 'is asked'}`
        }),
      ),
    },
    holds: holds.length === 0 ? undefined : holds.map(({ kind, end }) => `${kind} ${end}`),
  }
}

function words(parts: readonly (string | number | undefined)[]): string {
  return parts.filter(part => part !== undefined && part !== '').join(' ')
}

/** JSON stays the same JSON. */
function ascii(text: string): string {
  return text.replace(/[^ -~]/g, char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
