// One address of an upstream.

export interface Node {
  /** As configured: a name or an IP; IPv6 without brackets. */
  readonly host: string
  /** Where it is: the IP, or one of those that the name stands for. */
  readonly address: string
  readonly port: number
  readonly weight: number
  /** Nodes of a lower priority are used when all of the higher ones have been tried. */
  readonly priority: number
}

/** `address:port` as in URLs, IPv6 in brackets. */
export function addressOf({ address, port }: Node): string {
  return `${bracketed(address)}:${port}`
}

/** `host:port` as configured, in the form of URLs. */
export function authorityOf(node: Node): string {
  return `${hostOf(node)}:${node.port}`
}

/** The configured host as in URLs. */
export function hostOf({ host }: Node): string {
  return bracketed(host)
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}
