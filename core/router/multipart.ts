// Fields of a multipart/form-data body (RFC 7578); knows no request, and leaves files alone.

const MAX_PARTS = 1_000
const BLANK_LINE = Buffer.from('\r\n\r\n')

/** The first value of each field that is no file, of the first thousand parts; none of what is no such body. */
export function multipartFields(bytes: Buffer, contentType: string): ReadonlyMap<string, string> {
  const fields = new Map<string, string>()
  const [, quoted, bare] = /;\s*boundary=(?:"([^"]+)"|([^\s;]+))/i.exec(contentType) ?? []
  const boundary = quoted ?? bare
  if (boundary === undefined) return fields
  const delimiter = Buffer.from(`\r\n--${boundary}`)
  // The first has no line before it.
  let at = bytes.indexOf(delimiter.subarray(2))
  for (let part = 0; at >= 0 && part < MAX_PARTS; part++) {
    const head = bytes.indexOf('\r\n', at + delimiter.length - 2)
    const blank = head < 0 ? -1 : bytes.indexOf(BLANK_LINE, head)
    const next = blank < 0 ? -1 : bytes.indexOf(delimiter, blank + 2)
    if (next < 0) return fields
    const name = fieldName(bytes.toString('utf8', head, blank))
    const from = blank + BLANK_LINE.length
    if (name !== undefined && !fields.has(name)) fields.set(name, next < from ? '' : bytes.toString('utf8', from, next))
    at = next + 2
  }
  return fields
}

function fieldName(head: string): string | undefined {
  const [, disposition = ''] = /^content-disposition:\s*form-data\s*(;.*)$/im.exec(head) ?? []
  if (/;\s*filename\*?=/i.test(disposition)) return undefined
  const [, quoted, bare] = /;\s*name=(?:"((?:[^"\\]|\\.)*)"|([^\s;]+))/i.exec(disposition) ?? []
  return quoted?.replace(/\\(.)/g, '$1').replaceAll('%22', '"') ?? bare
}
