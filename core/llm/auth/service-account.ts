// A Google service account, and the signed statement by which it asks for a token (RFC 7523); knows no socket and no cache.
import { createPrivateKey, type KeyObject, sign } from 'node:crypto'
import { promisify } from 'node:util'
import { isObject } from '../json.ts'

export interface ServiceAccount {
  readonly email: string
  readonly key: KeyObject
  /** Which of the account's keys it is. */
  readonly keyId: string | undefined
  /** http or https. */
  readonly tokenUri: URL
  /** Separated by spaces. */
  readonly scope: string
}

const TOKEN_URI = 'https://oauth2.googleapis.com/token'
const SCOPE = 'https://www.googleapis.com/auth/cloud-platform'
/** As long as Google allows. */
const STATEMENT_SECS = 3600

const signed = promisify(sign)

/** What is wrong with the text as JSON, without a word of it: the parser would quote a part of the key. */
export function serviceAccountProblem(text: string): string | undefined {
  try {
    JSON.parse(text)
    return undefined
  } catch {
    return 'it is not JSON'
  }
}

/** Throws an Error whose message says what is wrong and quotes nothing. */
export function readServiceAccount(text: string): ServiceAccount {
  const problem = serviceAccountProblem(text)
  if (problem !== undefined) throw new Error(problem)
  const account: unknown = JSON.parse(text)
  if (!isObject(account)) throw new Error('it is no object')
  const { client_email: email, private_key: key, private_key_id: keyId, token_uri: uri = TOKEN_URI, scope } = account
  if (typeof email !== 'string' || email === '') throw new Error('client_email is missing')
  if (typeof key !== 'string' || key === '') throw new Error('private_key is missing')
  const tokenUri = typeof uri === 'string' ? URL.parse(uri) : null
  if (tokenUri === null || !/^https?:$/.test(tokenUri.protocol)) throw new Error('token_uri is no URL')
  const scopes = [scope ?? SCOPE].flat()
  if (!scopes.every(one => typeof one === 'string')) throw new Error('scope is neither text nor a list of texts')
  return {
    email,
    key: privateKey(key),
    keyId: typeof keyId === 'string' ? keyId : undefined,
    tokenUri,
    scope: scopes.join(' '),
  }
}

function privateKey(pem: string): KeyObject {
  let key: KeyObject
  try {
    key = createPrivateKey(pem)
  } catch {
    throw new Error('private_key is no private key in PEM form')
  }
  if (key.asymmetricKeyType !== 'rsa') throw new Error('private_key is not for RSA')
  return key
}

/** A JWT that asks for a token, `now` in milliseconds. Signed by the thread pool: it takes about a millisecond. */
export async function statement(account: ServiceAccount, now: number): Promise<string> {
  const { email: iss, tokenUri, scope, keyId: kid } = account
  const iat = Math.floor(now / 1000)
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const unsigned = `${part({ alg: 'RS256', typ: 'JWT', kid })}.${part({ iss, aud: tokenUri.href, scope, iat, exp: iat + STATEMENT_SECS })}`
  return `${unsigned}.${(await signed('RSA-SHA256', Buffer.from(unsigned), account.key)).toString('base64url')}`
}
