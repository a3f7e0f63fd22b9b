// Ports for programs that a test starts; knows not which.
import { randomInt } from 'node:crypto'
import { createServer, type Server } from 'node:net'

/**
 * Ports that were free a moment ago, all different, and none of those that the kernel gives to connections: they must be
 * free again when a program is started again.
 */
export async function freePorts(count: number): Promise<number[]> {
  const servers: Server[] = []
  while (servers.length < count) {
    const server = createServer().listen(randomInt(15_000, 32_000), '127.0.0.1')
    const free = await new Promise<boolean>(resolve => {
      server.once('listening', () => resolve(true)).once('error', () => resolve(false))
    })
    if (free) servers.push(server)
  }
  const ports = servers.map(server => (server.address() as { port: number }).port)
  await Promise.all(servers.map(server => new Promise(resolve => server.close(resolve))))
  return ports
}
