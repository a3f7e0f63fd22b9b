// Percent-encoding that leaves no choice, for what is signed or comes from a client; knows no URL.

/** Everything but what RFC 3986 2.3 calls unreserved, slashes included. */
export function strictEscape(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replace(
    /[!'()*]/g,
    each => `%${each.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}
