// A long text in pieces that a service takes, none of which ends within a character; knows no service.

/** Characters before the end of a piece among which a space is looked for: a word that is cut in two is none. */
const NEAR = 64

/** Pieces of at most `limit` characters (code points), or bytes of UTF-8; of one character at least. */
export function* textPieces(text: string, limit: number, unit: 'characters' | 'bytes'): Generator<string> {
  let start = 0
  while (start < text.length) {
    let size = 0
    let end = start
    let space = start
    while (end < text.length) {
      const code = text.codePointAt(end)!
      size += unit === 'characters' ? 1 : bytesOf(code)
      if (size > limit && end > start) break
      end += code > 0xffff ? 2 : 1
      if (isSpace(code)) space = end
    }
    if (end < text.length && space > start && end - space <= NEAR) end = space
    yield text.slice(start, end)
    start = end
  }
}

function bytesOf(code: number): number {
  if (code < 0x80) return 1
  if (code < 0x800) return 2
  return code > 0xffff ? 4 : 3
}

function isSpace(code: number): boolean {
  return code === 0x20 || (code >= 0x09 && code <= 0x0d) || code === 0xa0 || code === 0x3000
}
