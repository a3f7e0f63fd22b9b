// One address of an upstream.

export interface Node {
  /** A name or an IP; IPv6 without brackets. */
  readonly host: string
  readonly port: number
  readonly weight: number
  /** Nodes of a lower priority are used when all of the higher ones have been tried. */
  readonly priority: number
}

/** `host:port` as in URLs, IPv6 in brackets. */
export function addressOf(node: Node): string {
  return `${hostOf(node)}:${node.port}`
}

/** The host as in URLs. */
export function hostOf({ host }: Node): string {
  return host.includes(':') ? `[${host}]` : host
}
