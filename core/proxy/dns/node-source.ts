// Where the nodes of an upstream are now: addresses as they are, names by DNS, services by their records (facts core 6.5).
import { isIP } from 'node:net'
import { isDeepStrictEqual } from 'node:util'
import type { AddressGuard } from '../address-guard.ts'
import type { Node } from '../balancer/node.ts'
import type { Resolved, Resolver } from './resolver.ts'

/** A node as it is written. */
export interface WrittenNode {
  /** A name or an IP; IPv6 without brackets. */
  readonly host: string
  readonly port: number
  readonly weight: number
  readonly priority: number
}

export interface NodeSource {
  /** A promise only where somebody must be asked first. The same list as long as nothing has changed. Never rejects. */
  nodes(): Located | Promise<Located>
}

export interface Located {
  readonly nodes: readonly Node[]
  /** Names led only to addresses to which nothing may be sent. */
  readonly denied: boolean
}

export interface NodeSourceEnv {
  resolver: Resolver
  guard: AddressGuard
  /** Milliseconds since the epoch. */
  now(): number
  /** Hears of an address that is passed over because of the guard. */
  denied(name: string, address: string): void
}

/** Nodes that are listed. */
export function listedNodes(written: readonly WrittenNode[], env: NodeSourceEnv): NodeSource {
  if (written.every(({ host }) => isIP(host) !== 0)) {
    const located = { nodes: written.map(node => ({ ...node, address: node.host })), denied: false }
    return { nodes: () => located }
  }
  return new Lookup(env, async () => {
    const found = await Promise.all(written.map(async node => ({ node, addresses: await addressesOf(node.host, env) })))
    return combine(found)
  })
}

/**
 * The nodes of `service_name` with `discovery_type` dns: `host:port`, or a host whose SRV records say where it is, or else
 * whose addresses have the port that the scheme implies.
 */
export function discoveredNodes(service: string, fallbackPort: number, env: NodeSourceEnv): NodeSource {
  const [, host = '', port] = /^(.*?)(?::(\d+))?$/.exec(service) ?? []
  const whole = { host, port: Number(port ?? fallbackPort), weight: 1, priority: 0 }
  return new Lookup(env, async () => {
    const services = port === undefined ? await env.resolver.services(host) : undefined
    if (services === undefined || services.found.length === 0) {
      const located = combine([{ node: whole, addresses: await addressesOf(host, env) }])
      return { ...located, until: Math.min(located.until, services?.until ?? Number.POSITIVE_INFINITY) }
    }
    const found = await Promise.all(
      services.found.map(async each => ({
        // RFC 2782 has weight 0 for services that get little, not nothing; and port 0 means nothing.
        node: {
          host: each.name,
          port: each.port || fallbackPort,
          weight: each.weight || 1,
          priority: -each.priority,
        },
        addresses: await addressesOf(each.name, env),
      })),
    )
    const located = combine(found)
    return { ...located, until: Math.min(located.until, services.until) }
  })
}

interface Addresses extends Resolved<string> {
  /** Some address may not be used. */
  readonly denied: boolean
}

async function addressesOf(host: string, { resolver, guard, denied }: NodeSourceEnv): Promise<Addresses> {
  if (isIP(host) !== 0) return { found: [host], until: Number.POSITIVE_INFINITY, denied: false }
  const { found, until } = await resolver.addresses(host)
  const allowed = found.filter(address => !guard.denies(address))
  for (const address of found) if (!allowed.includes(address)) denied(host, address)
  return { found: allowed, until, denied: allowed.length < found.length }
}

type Found = Located & { readonly until: number }

/** One node per address. The addresses of a name share its weight, so that others get what they would get otherwise. */
function combine(found: readonly { node: WrittenNode; addresses: Addresses }[]): Found {
  const whole = found.reduce((multiple, { addresses }) => leastMultiple(multiple, addresses.found.length), 1)
  const nodes = found.flatMap(({ node, addresses }) =>
    addresses.found.map(address => ({ ...node, address, weight: part(node.weight * whole, addresses.found.length) })),
  )
  return {
    nodes,
    denied: nodes.length === 0 && found.some(({ addresses }) => addresses.denied),
    until: Math.min(...found.map(({ addresses }) => addresses.until)),
  }
}

/** A whole number, and nothing only of nothing. */
function part(weight: number, parts: number): number {
  return weight === 0 ? 0 : Math.max(1, Math.round(weight / parts))
}

// Past it the weights of names with many addresses are no longer exact fractions of the others.
const MAX_MULTIPLE = 720_720

function leastMultiple(a: number, b: number): number {
  if (b === 0) return a
  const multiple = (a / greatestDivisor(a, b)) * b
  return multiple > MAX_MULTIPLE ? a : multiple
}

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b)
}

/** What was found, for as long as it holds. */
class Lookup implements NodeSource {
  readonly #env: NodeSourceEnv
  readonly #find: () => Promise<Found>
  #known: Found | undefined
  #renewing: Promise<Located> | undefined

  constructor(env: NodeSourceEnv, find: () => Promise<Found>) {
    this.#env = env
    this.#find = find
  }

  nodes(): Located | Promise<Located> {
    const known = this.#known
    if (known !== undefined && this.#env.now() < known.until) return known
    this.#renewing ??= this.#renew()
    return this.#renewing
  }

  async #renew(): Promise<Located> {
    const found = await this.#find()
    const before = this.#known
    const same = before !== undefined && isDeepStrictEqual(before.nodes, found.nodes)
    this.#known = same ? { ...found, nodes: before.nodes } : found
    this.#renewing = undefined
    return this.#known
  }
}
