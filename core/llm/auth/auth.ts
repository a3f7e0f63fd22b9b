// What proves to a provider who asks, where a fixed header is not enough; knows neither tokens nor signatures.
import type { Context } from '../../context.ts'

/** A request as it will stand on the wire. */
export interface Unsigned {
  readonly method: string
  /** As the Host header has it. */
  readonly host: string
  /** Path and query. */
  readonly target: string
  readonly body: Buffer
}

export interface Auth {
  /** Fields that a client may have sent to prove who it is: they are not for this provider. In lower case. */
  readonly replaces: readonly string[]
  /** Fields to be added, by lower-case name. Throws GatewayError, whose message is for the client and holds no secret. */
  fields(request: Unsigned, ctx: Context): Readonly<Record<string, string>> | Promise<Readonly<Record<string, string>>>
}
