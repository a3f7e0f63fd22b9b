// One look at a target: a request or a connection, and what it says of its health. Knows no state and no schedule.
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { connect, isIP } from 'node:net'
import type { Target, Watch } from './board.ts'
import type { ActiveChecks } from './checks.ts'
import type { Sign } from './state.ts'

/** Looks once. Resolves with what was seen; undefined for a status that is in neither list. Never rejects. */
export function probe(target: Target, watch: Pick<Watch, 'checks' | 'clientCert'>): Promise<Sign | undefined> {
  return new Promise(resolve => {
    const { type, timeoutMs } = watch.checks
    const done = (sign: Sign | undefined) => {
      clearTimeout(timer)
      resolve(sign)
      attempt.destroy()
    }
    const attempt = type === 'tcp' ? dial(target, done) : ask(target, watch, done)
    const timer = setTimeout(() => done('timeout'), timeoutMs)
  })
}

type Done = (sign: Sign | undefined) => void

function dial({ ip, port }: Target, done: Done): { destroy(): void } {
  return connect({ host: ip, port })
    .on('connect', () => done('success'))
    .on('error', () => done('tcp'))
}

function ask(target: Target, { checks, clientCert }: Pick<Watch, 'checks' | 'clientCert'>, done: Done): ClientRequest {
  const { method, path, body, headers, verify, type } = checks
  const named = headers.some((name, at) => at % 2 === 0 && name.toLowerCase() === 'host')
  const length = body === '' ? [] : ['Content-Length', String(Buffer.byteLength(body))]
  const options = {
    host: target.ip,
    port: target.port,
    method,
    path,
    agent: false as const,
    headers: [...(named ? [] : ['Host', target.hostHeader]), 'Connection', 'close', ...headers, ...length],
  }
  const name = target.hostHeader.replace(/:\d+$/, '')
  const attempt =
    type === 'https'
      ? httpsRequest({
          ...options,
          ...clientCert,
          rejectUnauthorized: verify,
          // RFC 6066 3: an address is no name.
          servername: isIP(name) === 0 && !name.startsWith('[') ? name : '',
        })
      : httpRequest(options)
  const answered = ({ statusCode = 0 }: IncomingMessage) => done(judged(statusCode, checks))
  attempt
    .on('response', answered)
    .on('connect', answered)
    .on('upgrade', answered)
    .on('error', () => done('tcp'))
    .end(body)
  return attempt
}

function judged(status: number, { healthy, unhealthy }: ActiveChecks): Sign | undefined {
  if (healthy.statuses.includes(status)) return 'success'
  return unhealthy.statuses.includes(status) ? 'http' : undefined
}
