// How an attribute is refused that APISIX has and this version has not; knows no resource.

/** A sentence for each of `names` that is set in `value`; `at` is where the value stands (`upstream.`), or empty. */
export function unserved(value: object, names: readonly string[], at: string): string | undefined {
  const found = names.find(name => Object.hasOwn(value, name))
  return found && notServed(`${at}${found}`)
}

export function notServed(what: string): string {
  return `${what} is not served by this version of Sluice`
}
