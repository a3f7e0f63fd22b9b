// What a configured or computed text may be as a header field; knows no header in particular.

// RFC 9110 5.6.2
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/

/** Whether a name can stand on the wire. */
export function isFieldName(name: string): boolean {
  return TOKEN.test(name)
}

/**
 * A value as it can go on the wire, one character per byte. Variables bring what clients send: a decoded %0D%0A would
 * begin a field or a message of its own, so control characters become spaces. What is not Latin-1 goes as UTF-8.
 */
export function fieldValue(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not get through
  const oneLine = text.replace(/[\0-\x08\x0a-\x1f\x7f]/g, ' ').trim()
  return /[^\0-\xff]/.test(oneLine) ? Buffer.from(oneLine, 'utf8').toString('latin1') : oneLine
}
