// Ports that all workers will share: found free before any of them listens, because sharing would hide that another process has one.
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { Address } from '../listener.ts'

/** An address cannot be listened on. `code` is the system's. */
export class CannotListen extends Error {
  readonly address: Address
  readonly code: string
  constructor(address: Address, code: string) {
    super(`cannot listen on ${address.host}:${address.port}: ${code}`)
    this.address = address
    this.code = code
  }
}

const NO_IPV6 = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL'])

/** The addresses with ports of 0 made real; without `::` on a host that has no IPv6. Throws CannotListen. */
export async function freePorts(addresses: readonly Address[]): Promise<Address[]> {
  const free: Address[] = []
  for (const address of addresses) {
    const probe = createServer()
    try {
      probe.listen({ ...address, exclusive: true })
      await once(probe, 'listening')
      free.push({ ...address, port: (probe.address() as { port: number }).port })
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? String(error)
      // IPv4 has its own listener and loses nothing.
      if (address.host !== '::' || !NO_IPV6.has(code) || free.length === 0) throw new CannotListen(address, code)
    } finally {
      probe.close()
    }
  }
  return free
}
