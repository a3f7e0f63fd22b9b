// AWS Signature Version 4: proves who asks by a signature over the request (facts ai-plugins 5.5); knows no provider.
import { createHash, createHmac } from 'node:crypto'
import { strictEscape } from '../strict-escape.ts'
import type { Auth, Unsigned } from './auth.ts'

export interface AwsCredentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken: string | undefined
}

export interface AwsScope {
  readonly region: string
  readonly service: string
}

const ALGORITHM = 'AWS4-HMAC-SHA256'

/** `now` gives milliseconds since the epoch. */
export function awsAuth(credentials: AwsCredentials, scope: AwsScope, now: () => number): Auth {
  return {
    replaces: ['authorization', 'x-amz-date', 'x-amz-security-token', 'x-amz-content-sha256'],
    fields: request => signature(request, { credentials, scope, now: now() }),
  }
}

interface Means {
  readonly credentials: AwsCredentials
  readonly scope: AwsScope
  /** Milliseconds since the epoch. */
  readonly now: number
}

/** The fields that sign `request`: host, date and token are signed, and the body by its digest. */
export function signature(request: Unsigned, { credentials, scope, now }: Means): Record<string, string> {
  const { accessKeyId, secretAccessKey, sessionToken } = credentials
  const time = new Date(now).toISOString().replace(/[-:]|\.\d+/g, '')
  const date = time.slice(0, 8)
  const signed: Record<string, string> = { host: request.host, 'x-amz-date': time }
  if (sessionToken !== undefined) signed['x-amz-security-token'] = sessionToken
  const names = Object.keys(signed).join(';')
  const [path, query] = split(request.target)
  const canonical = [
    request.method,
    // The path as it stands on the wire is encoded once more, whatever it holds (so does every service but S3).
    path.split('/').map(strictEscape).join('/'),
    canonicalQuery(query),
    ...Object.entries(signed).map(([name, value]) => `${name}:${value.trim()}`),
    '',
    names,
    digest(request.body),
  ].join('\n')
  const within = `${date}/${scope.region}/${scope.service}/aws4_request`
  const toSign = [ALGORITHM, time, within, digest(canonical)].join('\n')
  const key = [date, scope.region, scope.service, 'aws4_request'].reduce<Buffer | string>(mac, `AWS4${secretAccessKey}`)
  const { host: _, ...added } = signed
  return {
    ...added,
    authorization: `${ALGORITHM} Credential=${accessKeyId}/${within}, SignedHeaders=${names}, Signature=${mac(key, toSign).toString('hex')}`,
  }
}

function split(target: string): [path: string, query: string] {
  const at = target.indexOf('?')
  return at < 0 ? [target, ''] : [target.slice(0, at), target.slice(at + 1)]
}

/** Arguments in the order of their names, then of their values, as they are when encoded. */
function canonicalQuery(query: string): string {
  return [...new URLSearchParams(query)]
    .map(([name, value]) => [strictEscape(name), strictEscape(value)] as const)
    .sort(([a, x], [b, y]) => compare(a, b) || compare(x, y))
    .map(pair => pair.join('='))
    .join('&')
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}

function digest(data: Buffer | string): string {
  return createHash('sha256').update(data).digest('hex')
}

function mac(key: Buffer | string, data: string): Buffer {
  return createHmac('sha256', key).update(data).digest()
}
