// A connection to one member of an etcd cluster: TLS, calls, streams; knows neither other members nor resources.
import { readFileSync } from 'node:fs'
import { type ClientDuplexStream, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js'
import type { IWatchRequest, IWatchResponse, Services } from 'etcd3'
// Of etcd3 this and its protobuf definitions are all that is used. Its ConnectionPool repeats writes (defect 8), opens a
// breaker for one bad call (7, 11) and leaks a connection per login; its Watcher loses events (1 to 5, 9, 10).
import { Host } from 'etcd3/lib/connection-pool.js'

export interface TlsFiles {
  /** Files in PEM form; they are read for every connection, so that renewed ones are used without a restart. */
  readonly cert: string | undefined
  readonly key: string | undefined
  readonly ca: string | undefined
  /** Whether the server's certificate must be good. */
  readonly verify: boolean
  /** The server's name where it is not that of its URL. */
  readonly sni: string | undefined
}

/** A call that is made of what etcd3's types say. */
export interface Call {
  service: keyof typeof Services
  method: string
  request: object
}

/** Every reply has one. */
export interface Header {
  cluster_id: string
  revision: string
}

/** A call that etcd did not answer, or refused. */
export class CallFailed extends Error {
  readonly code: status
  /** etcd has said no: what was asked for has not happened and will not. */
  readonly refused: boolean

  constructor(code: status, message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'CallFailed'
    this.code = code
    this.refused = refusals.has(code)
  }
}

const refusals: ReadonlySet<status> = new Set([
  status.INVALID_ARGUMENT,
  status.NOT_FOUND,
  status.ALREADY_EXISTS,
  status.PERMISSION_DENIED,
  status.RESOURCE_EXHAUSTED,
  status.FAILED_PRECONDITION,
  status.OUT_OF_RANGE,
  status.UNIMPLEMENTED,
  status.UNAUTHENTICATED,
])

/** A reply holds a page of a list, or events that etcd has put together. */
const longestReply = 64 * 1024 * 1024

const channelOptions = {
  // A member that stands still would hold a call for ever (defect 6). More often, or without calls, etcd takes for abuse.
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 3_000,
  'grpc.keepalive_permit_without_calls': 0,
  'grpc.max_receive_message_length': longestReply,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1_000,
  // What is repeated is decided here, by what a call does.
  'grpc.enable_retries': 0,
  // A long list must not hold up events, nor one broken connection take another with it.
  'grpc.use_local_subchannel_pool': 1,
  // The environment decides nothing (design.md 10).
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
}

export type WatchStream = ClientDuplexStream<IWatchRequest, IWatchResponse>

type Method = (
  request: object,
  metadata: Metadata,
  options: { deadline: number },
  done: (error: ServiceError | null, reply: unknown) => void,
) => void

export class Link {
  readonly #host: Host

  /** Throws CallFailed when the files of a certificate cannot be read. Connects when it is first used. */
  constructor(url: string, tls: TlsFiles) {
    const secure = url.startsWith('https:')
    this.#host = new Host(url, secure ? secured(tls) : credentials.createInsecure(), {
      ...channelOptions,
      ...(secure && tls.sni !== undefined ? { 'grpc.ssl_target_name_override': tls.sni } : {}),
    })
  }

  /** One attempt. Rejects with CallFailed, after `within` milliseconds at the latest. */
  call<T>({ service, method, request }: Call, token: string | undefined, within: number): Promise<T> {
    return new Promise((resolve, reject) => {
      // The definitions are loaded when the program runs: which methods there are, TypeScript cannot see.
      const client = this.#host.getServiceClient(service) as unknown as Record<string, Method>
      client[method]!(request, metadata(token), { deadline: Date.now() + within }, (error, reply) => {
        if (error === null) resolve(reply as T)
        else reject(new CallFailed(error.code, said(error), error))
      })
    })
  }

  /** A stream that etcd ends when its member has lost the others (defect 9). */
  watch(token: string | undefined): WatchStream {
    const client = this.#host.getServiceClient('Watch') as unknown as { watch(metadata: Metadata): WatchStream }
    const asked = metadata(token)
    asked.set('hasleader', 'true')
    return client.watch(asked)
  }

  close(): void {
    this.#host.close()
  }
}

/** What an error says, without what gRPC puts around it. */
function said(error: ServiceError): string {
  return (error.details || error.message).replace(/\.?\s*Resolution note:\s*$/, '')
}

function metadata(token: string | undefined): Metadata {
  const fields = new Metadata()
  if (token !== undefined) fields.set('token', token)
  return fields
}

function secured({ ca, key, cert, verify }: TlsFiles) {
  try {
    const read = (file: string | undefined) => (file === undefined ? null : readFileSync(file))
    return credentials.createSsl(read(ca), read(key), read(cert), { rejectUnauthorized: verify })
  } catch (error) {
    throw new CallFailed(status.UNAVAILABLE, `the TLS files cannot be used: ${(error as Error).message}`, error)
  }
}
