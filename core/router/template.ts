// Text with variables in it (`resolve_var`, facts core 1.9), read once; knows no variable.

/** Literal text, or a variable with what stands for it when it has no value. */
export type TemplatePart = string | { readonly name: string; readonly fallback: string | undefined }
export type Template = readonly TemplatePart[]

// The group order is the order of the alternatives: escaped dollar, ${name} with an optional default, $name.
const PART = /(\\\$)|\$\{\s*([^\s{}?]+)\s*(?:\?\?\s*([^{}]*?)\s*)?\}|\$(\w+)/g

/** Reads `$name`, `${name}`, `${name ?? default text}` and `\$`; any other dollar is a dollar. */
export function compileTemplate(text: string): Template {
  const parts: TemplatePart[] = []
  let literal = ''
  let from = 0
  for (const found of text.matchAll(PART)) {
    literal += text.slice(from, found.index)
    from = found.index + found[0].length
    const name = found[2] ?? found[4]
    if (name === undefined) {
      literal += '$'
      continue
    }
    if (literal !== '') parts.push(literal)
    literal = ''
    parts.push({ name, fallback: found[3] })
  }
  literal += text.slice(from)
  if (literal !== '') parts.push(literal)
  return parts
}

/**
 * The text now, and how many variables had a value (a default counts as one). What has none is empty. Callers that
 * need a key take `resolved` 0 as "there is none".
 */
export function resolveTemplate(
  template: Template | string,
  get: (name: string) => unknown,
): { text: string; resolved: number } {
  const parts = typeof template === 'string' ? compileTemplate(template) : template
  let text = ''
  let resolved = 0
  for (const part of parts) {
    if (typeof part === 'string') {
      text += part
      continue
    }
    const value = get(part.name) ?? part.fallback
    if (value === undefined) continue
    resolved++
    text += String(value)
  }
  return { text, resolved }
}
