// Tokens of Google's where no test asks for one: the gateway has no service account.
import { GcpTokens } from '../../core/llm/auth/gcp-tokens.ts'
import { Transport } from '../../core/proxy/transport.ts'

export function noAccount(): GcpTokens {
  return new GcpTokens({ transport: new Transport(), account: undefined, now: Date.now })
}
