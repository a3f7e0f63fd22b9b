// Texts with places for a request's values, as lua-resty-template writes them (facts ai-plugins 11); runs no Lua, knows no request.

/** The message says what cannot be used. */
export class TemplateError extends Error {}

/** Missing values are undefined. */
export type Values = Readonly<Record<string, unknown>>

/** Throws TemplateError where a list or an object is asked for, or a part of what is missing. */
export type BodyTemplate = (values: Values) => string

/** Of APISIX's templates; not in this version. */
const RESERVED = ['_ctx', '_body', '_escape_xml', '_escape_json', '_multipart']

const PLACE = /\{\{(.*?)\}\}|\{\*(.*?)\*\}|\{#.*?#\}|(\{%.*?%\}|\{\(.*?\)\}|\{\[.*?\]\}|\{-.*?-\})/gs
const PATH = /^([A-Za-z_]\w*)((?:\s*\.\s*[A-Za-z_]\w*|\s*\[\s*(?:\d+|"[^"\\]*"|'[^'\\]*')\s*\])*)$/
const STEP = /\.\s*(\w+)|\[\s*(?:(\d+)|"([^"]*)"|'([^']*)')\s*\]/g

/**
 * `{{ name }}` is the value with `& < > " ' /` escaped as for HTML, `{* name *}` as it is, `{# ... #}` nothing. A name may be a
 * path: `user.name`, `items[1]`, which counts from 1. Throws TemplateError for other expressions: they would be Lua's.
 */
export function compileBodyTemplate(text: string): BodyTemplate {
  const parts: BodyTemplate[] = []
  let from = 0
  const literal = (to: number) => {
    const piece = text.slice(from, to)
    if (piece !== '') parts.push(() => piece)
  }
  for (const place of text.matchAll(PLACE)) {
    literal(place.index)
    from = place.index + place[0].length
    const [whole, escaped, raw, block] = place
    if (block !== undefined) throw new TemplateError(`${whole} is Lua, which this version does not run`)
    if (escaped !== undefined) parts.push(compilePath(escaped, escapeHtml))
    else if (raw !== undefined) parts.push(compilePath(raw, text => text))
  }
  literal(text.length)
  return values => parts.map(part => part(values)).join('')
}

function compilePath(expression: string, dress: (text: string) => string): BodyTemplate {
  const path = expression.trim()
  const [, name, rest = ''] = PATH.exec(path) ?? []
  if (name === undefined)
    throw new TemplateError(`"${path}" is neither a name nor a path, and this version runs no Lua`)
  if (RESERVED.includes(name)) throw new TemplateError(`${name} is not known to this version`)
  const steps = [...rest.matchAll(STEP)].map(([, member, index, ...quoted]) =>
    index === undefined ? (member ?? quoted.find(key => key !== undefined)!) : Number(index),
  )
  return values => {
    let value = own(values, name)
    let so = name
    for (const step of steps) {
      if (value === undefined || value === null) throw new TemplateError(`${so} is missing, and has no ${step}`)
      value = own(value, step)
      so = `${so}.${step}`
    }
    if (typeof value === 'object' && value !== null) throw new TemplateError(`${so} is no text, number or boolean`)
    return value === undefined || value === null ? '' : dress(String(value))
  }
}

/** Numbers count from 1, in lists. */
function own(value: unknown, step: string | number): unknown {
  if (typeof value !== 'object' || value === null) return undefined
  const key = Array.isArray(value) && typeof step === 'number' ? String(step - 1) : String(step)
  return Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined
}

const HTML: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  '/': '&#47;',
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"'/]/g, character => HTML[character]!)
}
