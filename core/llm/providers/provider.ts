// What a provider is: data. Where it is, at which path it speaks which protocol, and what its bodies need.
import type { ProtocolName } from '../protocols/protocol.ts'
import type { Counting } from '../usage.ts'

export interface Provider {
  readonly name: string
  /** scheme://host; undefined where only `override.endpoint` can tell. */
  readonly origin?: string
  /** The protocols it speaks, each with its path. */
  readonly paths: Readonly<Partial<Record<ProtocolName, string>>>
  /** The member that `override.llm_options.max_tokens` is written to, and the one that it takes the place of. */
  readonly maxTokens: Readonly<Partial<Record<ProtocolName, { readonly set: string; readonly drop?: string }>>>
  /** The endpoint names the model, the body must not. */
  readonly removesModel?: boolean
  /** How usage counts in the events of its streams; where nothing is said it is absolute. */
  readonly counting?: Readonly<Partial<Record<ProtocolName, Counting>>>
}
