// A set of IP addresses and networks; knows nothing of requests.
import { BlockList, isIP } from 'node:net'

/** From addresses and CIDRs. Throws Error `invalid ip address: <x>` for anything else; `010.0.0.1` is none. */
export function addressSet(members: readonly string[]): { has(address: string): boolean } {
  const list = new BlockList()
  for (const member of members) {
    const [address = '', bits, ...more] = member.split('/')
    const version = isIP(address)
    const family = version === 4 ? 'ipv4' : 'ipv6'
    const widest = version === 4 ? 32 : 128
    const wrong = version === 0 || address.includes('%') || more.length > 0
    if (wrong || (bits !== undefined && !(/^(0|[1-9]\d{0,2})$/.test(bits) && Number(bits) <= widest))) {
      throw new Error(`invalid ip address: ${member}`)
    }
    if (bits === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(bits), family)
  }
  return {
    /** False for what is no address at all. */
    has: address => {
      const version = isIP(address)
      return version !== 0 && !address.includes('%') && list.check(address, version === 4 ? 'ipv4' : 'ipv6')
    },
  }
}
