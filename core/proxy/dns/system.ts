// What the machine knows of names without asking anybody: /etc/hosts and /etc/resolv.conf.
import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'

export interface SearchRules {
  /** Domains that are added to names that are not complete, in order. */
  readonly domains: readonly string[]
  /** A name with so many dots is tried as it is first. */
  readonly ndots: number
}

/** The addresses of each name of a hosts file, lower-case, IPv4 before IPv6. */
export function parseHosts(text: string): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>()
  for (const line of text.split('\n')) {
    const [address = '', ...names] = line.replace(/#.*$/, '').trim().split(/\s+/)
    if (isIP(address) === 0) continue
    for (const name of names.map(each => each.toLowerCase())) {
      const addresses = found.get(name) ?? []
      found.set(name, addresses)
      if (!addresses.includes(address)) addresses.push(address)
    }
  }
  for (const addresses of found.values()) addresses.sort((a, b) => isIP(a) - isIP(b))
  return found
}

/** The last of `search` and `domain` counts, as resolv.conf(5) has it. */
export function parseSearch(text: string): SearchRules {
  let domains: string[] = []
  let ndots = 1
  for (const line of text.split('\n')) {
    const [word, ...rest] = line
      .replace(/[#;].*$/, '')
      .trim()
      .split(/\s+/)
    if (word === 'search' || word === 'domain') domains = rest.map(domain => domain.replace(/\.$/, ''))
    if (word !== 'options') continue
    for (const option of rest) {
      const dots = /^ndots:(\d+)$/.exec(option)?.[1]
      if (dots !== undefined) ndots = Math.min(15, Number(dots))
    }
  }
  return { domains: domains.filter(domain => domain !== ''), ndots }
}

/** The names to ask for, in order, where somebody means `name`. A dot at the end makes it complete. */
export function candidates(name: string, { domains, ndots }: SearchRules): string[] {
  if (name.endsWith('.')) return [name.slice(0, -1)]
  const longer = domains.map(domain => `${name}.${domain}`)
  const dots = name.split('.').length - 1
  return dots >= ndots ? [name, ...longer] : [...longer, name]
}

/** The text of a file; empty when it cannot be read. */
export async function readOrNothing(file: string): Promise<string> {
  return await readFile(file, 'utf8').catch(() => '')
}
