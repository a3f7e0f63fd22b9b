// An etcd cluster of this test's own: real processes on free ports, each behind a proxy that breaks connections.
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { IStatusResponse } from 'etcd3'
import { silent } from '../../core/observe/log.ts'
import type { EtcdOptions } from '../../core/store/etcd/etcd.ts'
import { type Call, Link, type TlsFiles } from '../../core/store/etcd/link.ts'
import { ensure } from './debian-package.ts'
import { type FaultProxy, startFaultProxy } from './fault-proxy.ts'
import { freePorts } from './free-ports.ts'
import { until } from './until.ts'

export interface ClusterOptions {
  /** How many nodes; 1 by default. */
  members?: number
  /** More arguments for etcd. */
  args?: readonly string[]
  /** Speak TLS with the certificates of t/fixtures/tls/etcd; `client certificates` asks clients for theirs. */
  tls?: 'server certificates' | 'client certificates'
}

/** A file of t/fixtures/tls/etcd: ca.pem signs server.pem (localhost, 127.0.0.1, etcd.test) and client.pem. */
export const certificate = (name: string) => fileURLToPath(new URL(`../fixtures/tls/etcd/${name}`, import.meta.url))

export const noTls: TlsFiles = { cert: undefined, key: undefined, ca: undefined, verify: true, sni: undefined }

/** What an EtcdStore of a test is made of; it knows `hosts` and its own prefix. */
export function etcdOptions(hosts: readonly string[], more: Partial<EtcdOptions> = {}): EtcdOptions {
  return {
    hosts,
    prefix: `/${randomUUID()}`,
    user: undefined,
    password: undefined,
    tls: noTls,
    timeout: 30_000,
    healthCheckTimeout: 10_000,
    log: silent,
    now: Date.now,
    random: Math.random,
    ...more,
  }
}

/** One node. */
export class EtcdMember {
  readonly name: string
  readonly proxy: FaultProxy
  /** Straight to the member, and through the proxy. */
  readonly url: string
  readonly proxyUrl: string
  readonly folder: string
  readonly #program: readonly [binary: string, ...args: string[]]
  readonly #tls: TlsFiles
  #child: ChildProcess | undefined
  #said = ''

  constructor(made: {
    name: string
    proxy: FaultProxy
    scheme: string
    port: number
    folder: string
    program: readonly [string, ...string[]]
    tls: TlsFiles
  }) {
    this.name = made.name
    this.proxy = made.proxy
    this.url = `${made.scheme}://localhost:${made.port}`
    this.proxyUrl = `${made.scheme}://localhost:${made.proxy.port}`
    this.folder = made.folder
    this.#program = made.program
    this.#tls = made.tls
  }

  get running(): boolean {
    return this.#child !== undefined
  }

  /** On the data it had, with `more` arguments. Does not wait until it answers; rejects when it ends at once. */
  start(more: readonly string[] = []): void {
    const [binary, ...args] = this.#program
    const child = spawn(binary, [...args, '--data-dir', this.folder, ...more], { stdio: ['ignore', 'ignore', 'pipe'] })
    this.#said = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#said = (this.#said + text).slice(-20_000)
    })
    child.once('close', () => {
      if (this.#child === child) this.#child = undefined
    })
    this.#child = child
  }

  /** kill -9. Resolves when it is gone. */
  async kill(): Promise<void> {
    const child = this.#child
    if (child === undefined) return
    const gone = once(child, 'close')
    child.kill('SIGKILL')
    await gone
  }

  pause(): void {
    this.#child?.kill('SIGSTOP')
  }

  resume(): void {
    this.#child?.kill('SIGCONT')
  }

  /** One call, past the proxy. Rejects with CallFailed. */
  async call<T>(call: Call, token?: string): Promise<T> {
    const link = new Link(this.url, this.#tls)
    try {
      return await link.call<T>(call, token, 5_000)
    } finally {
      link.close()
    }
  }

  /** What it says of itself; undefined when it does not answer. */
  async status(token?: string): Promise<IStatusResponse | undefined> {
    return this.call<IStatusResponse>({ service: 'Maintenance', method: 'status', request: {} }, token).catch(
      () => undefined,
    )
  }

  /** The end of what it wrote to stderr. */
  get said(): string {
    return this.#said
  }
}

export interface EtcdCluster {
  readonly members: readonly EtcdMember[]
  /** Through the proxies. */
  readonly hosts: string[]
  /** One call to whichever member answers, past the proxies. */
  call<T>(call: Call, token?: string): Promise<T>
  put(key: string, value: string | Buffer): Promise<void>
  remove(key: string): Promise<void>
  /** Forgets the history up to now. */
  compact(): Promise<void>
  /** The member that leads; waits until there is one. */
  leader(): Promise<EtcdMember>
  /** Resolves when every member that runs answers and they agree on a leader. */
  settled(): Promise<void>
  /** Ends every node, and empties and starts them again: nothing is left. */
  wipe(): Promise<void>
  close(): Promise<void>
}

/** Where there is memory for files the data is there: no test of ours is about etcd's disk. */
const roof = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()

export async function startEtcd({ members = 1, args = [], tls }: ClusterOptions = {}): Promise<EtcdCluster> {
  const binary = await ensure('etcd-server', 'etcd')
  const folder = mkdtempSync(join(roof, 'sluice-etcd-'))
  const scheme = tls === undefined ? 'http' : 'https'
  const ports = await freePorts(2 * members)
  const named = Array.from({ length: members }, (_, n) => ({
    name: `n${n}`,
    port: ports[2 * n]!,
    peer: ports[2 * n + 1]!,
  }))
  const [cert, key, ca] = ['server.pem', 'server-key.pem', 'ca.pem'].map(certificate) as [string, string, string]
  const secured = tls === undefined ? [] : ['--cert-file', cert, '--key-file', key]
  if (tls === 'client certificates') secured.push('--client-cert-auth', '--trusted-ca-file', ca)
  const all = await Promise.all(
    named.map(async ({ name, port, peer }) => {
      const program = [
        binary,
        ...['--name', name, '--logger', 'zap', '--log-level', 'error', '--initial-cluster-token', folder],
        ...['--listen-client-urls', `${scheme}://127.0.0.1:${port}`],
        ...['--advertise-client-urls', `${scheme}://127.0.0.1:${port}`],
        ...[
          '--listen-peer-urls',
          `http://127.0.0.1:${peer}`,
          '--initial-advertise-peer-urls',
          `http://127.0.0.1:${peer}`,
        ],
        ...['--initial-cluster', named.map(each => `${each.name}=http://127.0.0.1:${each.peer}`).join(',')],
        ...secured,
        ...args,
      ] as const
      const proxy = await startFaultProxy(port)
      const own = tls === undefined ? noTls : { ...noTls, cert, key, ca }
      return new EtcdMember({ name, proxy, scheme, port, folder: join(folder, name), program, tls: own })
    }),
  )
  const cluster = new Cluster(all, folder)
  process.once('exit', cluster.killNow)
  for (const member of all) member.start()
  await cluster.settled()
  return cluster
}

class Cluster implements EtcdCluster {
  readonly members: readonly EtcdMember[]
  readonly #folder: string
  readonly killNow = () => {
    for (const member of this.members) void member.kill()
  }

  constructor(members: readonly EtcdMember[], folder: string) {
    this.members = members
    this.#folder = folder
  }

  get hosts(): string[] {
    return this.members.map(({ proxyUrl }) => proxyUrl)
  }

  get #running(): EtcdMember[] {
    return this.members.filter(({ running }) => running)
  }

  async call<T>(call: Call, token?: string): Promise<T> {
    return Promise.any(this.#running.map(member => member.call<T>(call, token))).catch((error: AggregateError) => {
      throw error.errors[0]
    })
  }

  async put(key: string, value: string | Buffer): Promise<void> {
    const request = { key: Buffer.from(key), value: Buffer.from(value) }
    await this.#running[0]!.call({ service: 'KV', method: 'put', request })
  }

  async remove(key: string): Promise<void> {
    await this.#running[0]!.call({ service: 'KV', method: 'deleteRange', request: { key: Buffer.from(key) } })
  }

  async compact(): Promise<void> {
    const { header } = await this.call<{ header: { revision: string } }>({
      service: 'KV',
      method: 'range',
      request: { key: Buffer.from('nothing') },
    })
    await this.#running[0]!.call({ service: 'KV', method: 'compact', request: { revision: header.revision } })
  }

  async leader(): Promise<EtcdMember> {
    let found: EtcdMember | undefined
    const look = async () => {
      for (const member of this.#running) {
        const status = await member.status()
        if (status !== undefined && status.leader !== '0' && status.leader === status.header.member_id) found = member
      }
      return found !== undefined
    }
    await until(look, 'etcd has a leader', 30_000)
    return found!
  }

  async settled(): Promise<void> {
    const agreed = async () => {
      const members = this.members.filter(({ running }) => running)
      const answers = await Promise.all(members.map(member => member.status()))
      const leaders = new Set(answers.map(answer => answer?.leader ?? '0'))
      return leaders.size === 1 && !leaders.has('0')
    }
    await until(agreed, `etcd is settled: ${this.members.map(({ said }) => said).join('\n')}`, 60_000)
  }

  async wipe(): Promise<void> {
    await Promise.all(this.members.map(member => member.kill()))
    for (const { folder } of this.members) rmSync(folder, { recursive: true, force: true })
    for (const member of this.members) member.start()
    await this.settled()
  }

  async close(): Promise<void> {
    process.removeListener('exit', this.killNow)
    await Promise.all(
      this.members.map(async member => {
        await member.kill()
        await member.proxy.close()
      }),
    )
    rmSync(this.#folder, { recursive: true, force: true })
  }
}
