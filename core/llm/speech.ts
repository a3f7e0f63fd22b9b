// How a client of one protocol is served by a provider: in the same protocol, or through a converter; knows no bodies.
import type { Converter } from './converters/converter.ts'
import { findConverter } from './converters/table.ts'
import { protocolNamed } from './protocols/detect.ts'
import type { Protocol, ProtocolName } from './protocols/protocol.ts'
import type { Provider } from './providers/provider.ts'

export interface Speech {
  /** The client's protocol. */
  readonly speaker: Protocol
  /** The provider's: the same one, unless there is a converter between the two. */
  readonly protocol: Protocol
  readonly converter: Converter | undefined
}

/** Undefined when the provider speaks neither that protocol nor one that it can be converted to. */
export function speechOf(client: ProtocolName, { paths }: Provider): Speech | undefined {
  const speaks = (name: ProtocolName) => name === 'passthrough' || paths[name] !== undefined
  const converter = speaks(client) ? undefined : findConverter(client, speaks)
  const speaker = protocolNamed(client)
  const protocol = converter === undefined ? speaker : protocolNamed(converter.to)
  if (speaker === undefined || protocol === undefined || !speaks(protocol.name)) return undefined
  return { speaker, protocol, converter }
}
