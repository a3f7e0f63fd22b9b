// Names -> addresses in the form in which node:net asks for them, without the addresses that are denied.
import type { LookupFunction } from 'node:net'
import { isIP } from 'node:net'
import type { AddressGuard } from '../address-guard.ts'
import type { Resolver } from './resolver.ts'

export type Lookup = LookupFunction

/** The code of the error for a name that leads only to addresses that are denied. */
export const DENIED = 'ERR_SLUICE_DENIED'

/** Asked for every connection to a name. Fails with ENOTFOUND, or with DENIED. `denied` hears of each denied address. */
export function guardedLookup(
  resolver: Resolver,
  guard: AddressGuard,
  denied: (name: string, address: string) => void,
): Lookup {
  const resolve = async (name: string) => {
    const { found } = await resolver.addresses(name)
    const allowed = found.filter(address => !guard.denies(address))
    for (const address of found) if (!allowed.includes(address)) denied(name, address)
    if (allowed.length > 0) return allowed.map(address => ({ address, family: isIP(address) }))
    const code = found.length > 0 ? DENIED : 'ENOTFOUND'
    throw Object.assign(new Error(`no address of ${name} can be used`), { code })
  }
  return (name, options, callback) => {
    resolve(name).then(
      addresses => {
        if (options.all === true) callback(null, addresses)
        else callback(null, addresses[0]!.address, addresses[0]!.family)
      },
      (error: NodeJS.ErrnoException) => callback(error, '', 0),
    )
  }
}
