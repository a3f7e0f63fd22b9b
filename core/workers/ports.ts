// Ports that all workers will share: found free before any of them listens, because sharing would hide that another process has one.
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
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

/** Addresses whose ports are free, and nobody else's until they are let go. */
export interface HeldPorts {
  readonly addresses: readonly Address[]
  /** Call it when somebody is about to listen. */
  release(): void
}

/**
 * The addresses with ports of 0 made real; without `::` on a host that has no IPv6. Throws CannotListen. Only ports that were
 * found are held: who connects to one that was asked for is refused until it is served.
 */
export async function freePorts(addresses: readonly Address[]): Promise<HeldPorts> {
  const free: Address[] = []
  const held: Server[] = []
  const release = () => {
    for (const probe of held.splice(0)) probe.close()
  }
  for (const address of addresses) {
    const probe = createServer(socket => socket.destroy())
    held.push(probe)
    try {
      probe.listen({ ...address, exclusive: true })
      await once(probe, 'listening')
      free.push({ ...address, port: (probe.address() as { port: number }).port })
      if (address.port !== 0) held.pop()!.close()
    } catch (error) {
      held.pop()
      const code = (error as NodeJS.ErrnoException).code ?? String(error)
      // IPv4 has its own listener and loses nothing.
      if (address.host === '::' && NO_IPV6.has(code) && free.length > 0) continue
      release()
      throw new CannotListen(address, code)
    }
  }
  return { addresses: free, release }
}
