// Lines of a JSON document, for messages: where its entries stand, and where it stops being JSON; knows no resource.

/** The lines of collections and entries (`routes`, `routes[3]`) in text that has parsed. Lines count from 1. */
export function entryLines(text: string): Map<string, number> {
  const lines = new Map<string, number>()
  const token = /\n|"(?:[^"\\]|\\.)*"|[[\]{},]|[^\s"[\]{},:]+/g
  let [line, depth, collection, index, fresh] = [1, 0, '', 0, true]
  for (const [found] of text.matchAll(token)) {
    if (found === '\n') line++
    else if (found === ',') {
      fresh = true
      if (depth === 2) index++
    } else {
      // The first thing of a member or of an entry.
      if (fresh && depth === 1 && found.startsWith('"')) {
        collection = JSON.parse(found) as string
        lines.set(collection, line)
        index = 0
      } else if (fresh && depth === 2 && found !== ']' && found !== '}') lines.set(`${collection}[${index}]`, line)
      fresh = found === '{' || found === '['
      if (fresh) depth++
      else if (found === '}' || found === ']') depth--
    }
  }
  return lines
}

const tokens =
  /\s+|"(?:[^"\\\n]|\\.)*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])|(?:true|false|null)\b|[[\]{},:]/y

/** What may come next, by what came last: `:` after a name, `v` a value, `n` a name, `,` more of the same, and the end. */
type Next = 'v' | 'v]' | 'n' | 'n}' | ':' | ','

/** The line on which text stops being JSON; the parser of the engine tells it only sometimes, and quotes secrets. */
export function faultLine(text: string): number {
  const lineAt = (position: number) => text.slice(0, position).split('\n').length
  const open: ('{' | '[')[] = []
  let next: Next = 'v'
  for (let at = 0; at < text.length; at = tokens.lastIndex) {
    tokens.lastIndex = at
    const [found = ''] = tokens.exec(text) ?? []
    if (/^\s/.test(found)) continue
    const after = step(found, next, open)
    if (found === '' || after === undefined) return lineAt(at)
    next = after
  }
  return lineAt(text.length)
}

/** What may come after a token; undefined when it may not stand here. `open` is what it stands in, and is kept. */
function step(found: string, next: Next, open: ('{' | '[')[]): Next | undefined {
  const inside = open.at(-1)
  if (found === '{' || found === '[') {
    if (next !== 'v' && next !== 'v]') return undefined
    open.push(found)
    return found === '{' ? 'n}' : 'v]'
  }
  if (found === '}' || found === ']') {
    const empty = found === '}' ? 'n}' : 'v]'
    const closes = inside === (found === '}' ? '{' : '[') && (next === ',' || next === empty)
    return closes && open.pop() !== undefined ? ',' : undefined
  }
  if (found === ',') return next === ',' && inside !== undefined ? (inside === '{' ? 'n' : 'v') : undefined
  if (found === ':') return next === ':' ? 'v' : undefined
  if (next === 'n' || next === 'n}') return found.startsWith('"') ? ':' : undefined
  return next === 'v' || next === 'v]' ? ',' : undefined
}
