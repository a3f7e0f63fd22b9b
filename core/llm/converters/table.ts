// The converters we have, in the order in which they are looked at; knows nothing of any of them.
import type { ProtocolName } from '../protocols/protocol.ts'
import { anthropicOpenai } from './anthropic-openai.ts'
import type { Converter } from './converter.ts'
import { embeddingsVertex } from './embeddings-vertex.ts'

const table: readonly Converter[] = [anthropicOpenai, embeddingsVertex]

/** The first that leads from the client's protocol to one that `speaks` takes; undefined when there is none. */
export function findConverter(from: ProtocolName, speaks: (to: ProtocolName) => boolean): Converter | undefined {
  return table.find(converter => converter.from === from && speaks(converter.to))
}
