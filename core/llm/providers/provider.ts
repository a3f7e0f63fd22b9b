// What a provider is: data. Where it is, at which path it speaks which protocol, and what its bodies need.
import type { ProtocolName } from '../protocols/protocol.ts'
import type { Counting } from '../usage.ts'

/**
 * `origin` and paths may hold `{region}` and `{project_id}`, which `provider_conf` tells, and paths `{model}`; without a
 * value for one of them there is no such place.
 */
export interface Provider {
  readonly name: string
  /** Where OpenTelemetry's GenAI conventions have another for it (`gen_ai.provider.name`). */
  readonly conventionalName?: string
  /** scheme://host; undefined where only `override.endpoint` can tell. */
  readonly origin?: string
  /** What it speaks, each with its path. */
  readonly paths: Readonly<Partial<Record<ProtocolName, string>>>
  /** Paths of streams, where they are others. */
  readonly streamPaths?: Readonly<Partial<Record<ProtocolName, string>>>
  /**
   * The member that `override.llm_options.max_tokens` is written to (`a.b` is a member of an object within the body), and
   * the one that it takes the place of.
   */
  readonly maxTokens: Readonly<Partial<Record<ProtocolName, { readonly set: string; readonly drop?: string }>>>
  /** The endpoint names the model, the body must not. */
  readonly removesModel?: boolean
  /** How usage counts in the events of its streams; where nothing is said it is absolute. */
  readonly counting?: Readonly<Partial<Record<ProtocolName, Counting>>>
}
