// The text of an answer as far as logs keep it.

/** Characters. */
const MAX_TEXT = 1024 * 1024

/** What is kept of an answer's text when `more` has come. */
export function keptText(before: string | undefined, more: string): string {
  const kept = before ?? ''
  return kept.length < MAX_TEXT ? kept + more.slice(0, MAX_TEXT - kept.length) : kept
}
