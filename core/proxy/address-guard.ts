// Addresses to which nothing may be sent because a name leads there: link-local ones and those of cloud metadata services.
import { addressSet } from '../router/addresses.ts'

/**
 * What is denied unless the configuration says otherwise. Whoever answers for a name, or can make somebody ask for one,
 * must not reach what only this machine can: https://owasp.org/Top10/A10_2021-Server-Side_Request_Forgery_%28SSRF%29/
 */
export const DENIED_BY_DEFAULT: readonly string[] = [
  // Link-local, where AWS, Azure, GCP, DigitalOcean and OpenStack have their metadata; and the same through NAT64.
  '169.254.0.0/16',
  'fe80::/10',
  '64:ff9b::a9fe:0/112',
  // Metadata outside of it: Alibaba, Oracle, Azure's host, AWS and GCP over IPv6.
  '100.100.100.200',
  '192.0.0.192',
  '168.63.129.16',
  'fd00:ec2::254',
  'fd20:ce::254',
]

/** Judges addresses that names were resolved to. Addresses that the configuration writes itself are not asked about. */
export class AddressGuard {
  readonly #denied: { has(address: string): boolean }

  /** `denied` are addresses and CIDRs; throws for anything else. */
  constructor(denied: readonly string[]) {
    this.#denied = addressSet(denied)
  }

  /** Also an IPv4 address that is written as IPv6, and one with a zone. */
  denies(address: string): boolean {
    return this.#denied.has(address.replace(/%.*$/, ''))
  }
}
