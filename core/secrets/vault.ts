// HashiCorp Vault, read as APISIX reads it (facts core 3.10): the members of what it keeps at a path; keeps nothing itself.
import { Pool, request } from 'undici'
import { isObject } from '../schema.ts'

/** The members of a secret by name. */
export type Fields = Readonly<Record<string, unknown>>

/** Where secrets are kept. */
export interface SecretManager {
  /** Undefined when there is nothing at that path. Rejects when it cannot be said now; no error has a secret in it. */
  read(path: string): Promise<Fields | undefined>
  close(): Promise<void>
}

export interface VaultOptions {
  uri: string
  prefix: string
  token: string
  namespace?: string
}

/** A manager has answered, and gives nothing: it is there for others. */
export class NotGiven extends Error {}

// For each step of a read; there are no bodies of a megabyte among secrets.
const TIMEOUT_MS = 5_000
const MAX_BYTES = 2 ** 20
/** How many are read at the same time. */
const CONNECTIONS = 8

/** `GET {uri}/v1/{prefix}/{path}`, whose answer has the members in `data`: version 1 of the key-value engine. */
export function openVault({ uri, prefix, token, namespace }: VaultOptions): SecretManager {
  const { origin, pathname } = new URL(uri)
  const dispatcher = new Pool(origin, {
    connections: CONNECTIONS,
    connectTimeout: TIMEOUT_MS,
    headersTimeout: TIMEOUT_MS,
    bodyTimeout: TIMEOUT_MS,
  })
  const headers = { 'X-Vault-Token': token, ...(namespace !== undefined && { 'X-Vault-Namespace': namespace }) }
  const base = pathname.replace(/\/+$/, '')
  return {
    async read(path) {
      const steps = [...prefix.split('/').filter(step => step !== ''), ...path.split('/')].map(encodeURIComponent)
      const { statusCode, body } = await request(`${origin}${base}/v1/${steps.join('/')}`, { dispatcher, headers })
      const chunks: Buffer[] = []
      let size = 0
      for await (const chunk of body as AsyncIterable<Buffer>) {
        size += chunk.length
        if (size > MAX_BYTES) throw new NotGiven('its answer is too long')
        chunks.push(chunk)
      }
      if (statusCode === 404) return undefined
      if (statusCode >= 500) throw new Error(`it answers ${statusCode}`)
      if (statusCode !== 200) throw new NotGiven(`it answers ${statusCode}`)
      return dataOf(Buffer.concat(chunks).toString())
    },
    close: () => dispatcher.destroy(),
  }
}

function dataOf(text: string): Fields {
  let answer: unknown
  try {
    answer = JSON.parse(text)
  } catch {
    // What JSON.parse says quotes the text.
  }
  if (!isObject(answer) || !isObject(answer.data)) throw new NotGiven('its answer is no secret')
  return answer.data
}
