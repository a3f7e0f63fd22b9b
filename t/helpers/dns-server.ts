// A name server on a free UDP port: answers what it is told, counts what it is asked, and can fall silent.
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { isIPv6 } from 'node:net'

export type DnsRecord =
  | { type: 'A' | 'AAAA'; address: string; ttl?: number }
  | { type: 'CNAME'; name: string; ttl?: number }
  | { type: 'SRV'; name: string; port: number; priority?: number; weight?: number; ttl?: number }

export interface DnsServer {
  /** `127.0.0.1:port` */
  readonly address: string
  /** By name, lower-case; a name that is not here does not exist. */
  readonly zone: Record<string, readonly DnsRecord[]>
  /** `A name`, in order. */
  readonly asked: string[]
  /** Answers every question with this instead: SERVFAIL, or nothing at all. */
  failing: 'servfail' | 'silent' | undefined
  close(): Promise<void>
}

const TYPES = { A: 1, CNAME: 5, AAAA: 28, SRV: 33 } as const

export async function startDnsServer(zone: Record<string, readonly DnsRecord[]> = {}): Promise<DnsServer> {
  const socket = createSocket('udp4')
  const server: DnsServer = {
    address: '',
    zone,
    asked: [],
    failing: undefined,
    async close() {
      socket.close()
      await once(socket, 'close')
    },
  }
  socket.on('message', (message, from) => {
    const { name, type, end } = question(message)
    const typeName = Object.entries(TYPES).find(([, code]) => code === type)?.[0] ?? String(type)
    server.asked.push(`${typeName} ${name}`)
    if (server.failing === 'silent') return
    const records = answers(server.zone, name, typeName)
    const rcode = server.failing === 'servfail' ? 2 : records === undefined ? 3 : 0
    const header = Buffer.alloc(12)
    message.copy(header, 0, 0, 2)
    header.writeUInt16BE(0x8180 | rcode, 2)
    header.writeUInt16BE(1, 4)
    const sent = rcode === 0 ? records! : []
    header.writeUInt16BE(sent.length, 6)
    socket.send(Buffer.concat([header, message.subarray(12, end), ...sent.map(encode)]), from.port, from.address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return Object.assign(server, { address: `127.0.0.1:${socket.address().port}` })
}

function question(message: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = []
  let at = 12
  for (let length = message[at]!; length > 0; length = message[at]!) {
    labels.push(message.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  return { name: labels.join('.').toLowerCase(), type: message.readUInt16BE(at + 1), end: at + 5 }
}

/** The records of a name and what its aliases lead to; undefined when there is no such name. */
function answers(
  zone: DnsServer['zone'],
  name: string,
  type: string,
): { owner: string; record: DnsRecord }[] | undefined {
  const own = zone[name]
  if (own === undefined) return undefined
  const found = own.filter(record => record.type === type).map(record => ({ owner: name, record }))
  const alias = own.find(record => record.type === 'CNAME')
  if (found.length > 0 || alias === undefined) return found
  return [{ owner: name, record: alias }, ...(answers(zone, alias.name, type) ?? [])]
}

function encode({ owner, record }: { owner: string; record: DnsRecord }): Buffer {
  const data = dataOf(record)
  const fixed = Buffer.alloc(10)
  fixed.writeUInt16BE(TYPES[record.type], 0)
  fixed.writeUInt16BE(1, 2)
  fixed.writeUInt32BE(record.ttl ?? 60, 4)
  fixed.writeUInt16BE(data.length, 8)
  return Buffer.concat([nameBytes(owner), fixed, data])
}

function dataOf(record: DnsRecord): Buffer {
  switch (record.type) {
    case 'A':
      return Buffer.from(record.address.split('.').map(Number))
    case 'AAAA':
      return ipv6Bytes(record.address)
    case 'CNAME':
      return nameBytes(record.name)
    case 'SRV': {
      const head = Buffer.alloc(6)
      head.writeUInt16BE(record.priority ?? 0, 0)
      head.writeUInt16BE(record.weight ?? 1, 2)
      head.writeUInt16BE(record.port, 4)
      return Buffer.concat([head, nameBytes(record.name)])
    }
  }
}

function nameBytes(name: string): Buffer {
  const labels = name.split('.').map(label => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]))
  return Buffer.concat([...labels, Buffer.from([0])])
}

function ipv6Bytes(address: string): Buffer {
  if (!isIPv6(address)) throw new Error(`${address} is no IPv6 address`)
  const [head = '', tail] = address.split('::')
  const groups = (text: string) => (text === '' ? [] : text.split(':').map(group => Number.parseInt(group, 16)))
  const [first, last] = [groups(head), groups(tail ?? '')]
  const all = [...first, ...new Array<number>(8 - first.length - last.length).fill(0), ...last]
  const bytes = Buffer.alloc(16)
  for (const [at, group] of all.entries()) bytes.writeUInt16BE(group, at * 2)
  return bytes
}
