// A Vault of the test's own: key-value secrets of version 1 over HTTP, with a token, and the faults that one may have.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface FakeVault {
  /** `http://127.0.0.1:port` */
  readonly uri: string
  /** Members by path below /v1. */
  readonly secrets: Map<string, Record<string, unknown>>
  /** What was asked for, with the namespace if there was one. */
  readonly asked: string[]
  token: string
  /** Answers everything with this status; 0 never answers. Undefined is in order. */
  fault: number | undefined
  close(): Promise<void>
}

export async function startVault(): Promise<FakeVault> {
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? '').replace(/^\/v1\//, '')
    const namespace = request.headers['x-vault-namespace']
    vault.asked.push(namespace === undefined ? path : `${namespace}: ${path}`)
    if (vault.fault === 0) return
    const fields = vault.secrets.get(path)
    const right = request.headers['x-vault-token'] === vault.token
    response.statusCode = vault.fault ?? (right ? (fields === undefined ? 404 : 200) : 403)
    response.end(JSON.stringify(response.statusCode === 200 ? { data: fields } : { errors: ['the words of a vault'] }))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const vault: FakeVault = {
    uri: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    secrets: new Map(),
    asked: [],
    token: 'root',
    fault: undefined,
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return vault
}
