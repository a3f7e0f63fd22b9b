// Who a request comes from when others have passed it on, and which of their words about it are believed (facts core 6.7).
import { isIP } from 'node:net'
import { IDENTITY_FIELDS } from './context.ts'
import type { HeaderList } from './reply.ts'
import { addressSet } from './router/addresses.ts'

export interface ForwardingOptions {
  /** Proxies whose X-Forwarded-Proto, -Host, -Port and Forwarded are believed; undefined: nobody is named. */
  trusted: readonly string[] | undefined
  /** Requests of `from` come from the address in the field `header`. */
  realIp: { header: string; from: readonly string[]; recursive: boolean }
}

/** What a client may not say about itself. */
const CLAIMS = new Set(['forwarded', 'x-forwarded-proto', 'x-forwarded-host', 'x-forwarded-port'])
const IDENTITY = new Set(IDENTITY_FIELDS.map(name => name.toLowerCase()))
// The lengths of all names that may have to go: nearly every field is done with by a comparison of numbers.
const LENGTHS = new Set([...CLAIMS, ...IDENTITY, 'x-forwarded-for'].map(name => name.length))

export class Forwarding {
  readonly #trusted: { has(address: string): boolean } | undefined
  readonly #realIp: { header: string; from: { has(address: string): boolean }; recursive: boolean } | undefined

  /** Throws for what is no address or CIDR. `unix:` in `from` is nobody. */
  constructor({ trusted, realIp }: ForwardingOptions) {
    this.#trusted = trusted && addressSet(trusted)
    const from = realIp.from.filter(each => each !== 'unix:')
    this.#realIp = from.length === 0 ? undefined : { ...realIp, from: addressSet(from) }
  }

  /** The address that a request comes from: its peer's, or what a peer that is believed says. */
  clientOf(peer: string, headers: HeaderList): string {
    if (this.#realIp === undefined || !this.#realIp.from.has(peer)) return peer
    const { header, from, recursive } = this.#realIp
    const said = headers
      .all(header)
      .flatMap(value => value.split(','))
      .map(bareAddress)
    // From the nearest to the farthest; what is no address ends it, as in nginx.
    let client = peer
    for (let at = said.length - 1; at >= 0; at--) {
      const address = said[at]
      if (address === undefined) break
      client = address
      if (!recursive || !from.has(address)) break
    }
    return client
  }

  /**
   * Drops what the peer is not to be believed: who is asking is for authentication to say (facts metering 1), how it was
   * asked for proxies that are trusted. Returns what was dropped as a flat name, value list; undefined when nothing was.
   */
  sanitise(peer: string, headers: HeaderList): string[] | undefined {
    const { raw } = headers
    let dropped: string[] | undefined
    let trusted: boolean | undefined
    let kept = 0
    for (let at = 0; at < raw.length; at += 2) {
      if (LENGTHS.has(raw[at]!.length)) {
        const name = raw[at]!.toLowerCase()
        const claim = CLAIMS.has(name) || (name === 'x-forwarded-for' && this.#trusted !== undefined)
        if (claim) trusted ??= this.#trusted?.has(peer) ?? false
        if (IDENTITY.has(name) || (claim && trusted === false)) {
          dropped ??= []
          dropped.push(raw[at]!, raw[at + 1]!)
          continue
        }
      }
      raw[kept++] = raw[at]!
      raw[kept++] = raw[at + 1]!
    }
    if (dropped !== undefined) raw.length = kept
    return dropped
  }
}

/** `1.2.3.4`, `1.2.3.4:80`, `::1` or `[::1]:80` without the port; undefined for anything else. */
function bareAddress(text: string): string | undefined {
  const trimmed = text.trim()
  if (isIP(trimmed) !== 0) return trimmed
  const [, bracketed, plain] = /^(?:\[([^\]]+)\]|([^:]+))(?::\d+)?$/.exec(trimmed) ?? []
  const address = bracketed ?? plain ?? ''
  return isIP(address) === 0 ? undefined : address
}
