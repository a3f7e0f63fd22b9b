// Certificates and their keys in PEM: whether they can be read and belong together (facts core 3.3, 3.8); knows no resource.
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { asError } from '../errors.ts'
import { isReference } from '../schema.ts'

/** What is wrong with a pair; nothing is known of one that is kept elsewhere. Says nothing of the key itself. */
export function pairProblem(cert: string, key: string): string | undefined {
  if (isReference(cert) || isReference(key)) return undefined
  const certificate = attempt(() => new X509Certificate(cert))
  if (certificate instanceof Error) return `failed to parse cert: ${certificate.message}`
  const privateKey = attempt(() => createPrivateKey(key))
  if (privateKey instanceof Error) return `failed to parse key: ${privateKey.message}`
  return certificate.checkPrivateKey(privateKey) ? undefined : 'failed to parse key: it is not the key of the cert'
}

/** What is wrong with the certificate of an authority, or with several one after the other. */
export function authorityProblem(pem: string): string | undefined {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [pem]
  for (const block of blocks) {
    const read = attempt(() => new X509Certificate(block))
    if (read instanceof Error) return read.message
  }
  return undefined
}

function attempt<T>(read: () => T): T | Error {
  try {
    return read()
  } catch (thrown) {
    return asError(thrown)
  }
}
