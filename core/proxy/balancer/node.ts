// One address of an upstream.

export interface Node {
  readonly host: string
  readonly port: number
  readonly weight: number
  /** Nodes of a lower priority are used when all of the higher ones have been tried. */
  readonly priority: number
}

/** `host:port`, as it stands in logs. */
export function addressOf(node: Node): string {
  return `${node.host}:${node.port}`
}
