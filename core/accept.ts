// What a client would rather read (RFC 9110 12.5.1); knows two kinds of text.

/** Whether HTML is wanted more than JSON; one that names only HTML wants HTML, one that does not care gets JSON. */
export function prefersHtml(accept: string | undefined): boolean {
  // As nearly every program, and no browser, has it.
  if (accept === undefined || !/html/i.test(accept)) return false
  const ranges = accept.toLowerCase().split(',').map(rangeOf)
  const html = weight(ranges, ['text/html', 'text/*', '*/*'])
  const json = weight(ranges, ['application/json', 'application/*', '*/*'])
  const named = (type: string) => ranges.some(range => range.type === type)
  return html > json || (html > 0 && html === json && named('text/html') && !named('application/json'))
}

interface Range {
  type: string
  q: number
}

function rangeOf(text: string): Range {
  const [type = '', ...parameters] = text.split(';').map(part => part.trim())
  const q = parameters.find(parameter => parameter.startsWith('q='))?.slice(2)
  const value = q === undefined ? 1 : Number(q)
  return { type, q: value >= 0 && value <= 1 ? value : 0 }
}

/** The weight of the most specific range that is there. */
function weight(ranges: readonly Range[], types: readonly string[]): number {
  for (const type of types) {
    const range = ranges.find(each => each.type === type)
    if (range !== undefined) return range.q
  }
  return 0
}
