// Redis of this test's own: real processes on free ports, alone, as a cluster, or behind a sentinel.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { RedisServers } from '../../core/ledger/redis/link.ts'
import { ensure } from './debian-package.ts'
import { freePorts } from './free-ports.ts'
import { until } from './until.ts'

const run = promisify(execFile)

/** One process. */
export class RedisServer {
  readonly port: number
  readonly #args: readonly string[]
  #child: ChildProcess | undefined

  constructor(port: number, args: readonly string[]) {
    this.port = port
    this.#args = args
  }

  /** Resolves when it answers. It has forgotten what it knew. */
  async start(): Promise<void> {
    const child = spawn('redis-server', this.#args, { stdio: 'ignore' })
    const orphaned = () => void child.kill('SIGKILL')
    process.once('exit', orphaned)
    child.once('close', () => process.off('exit', orphaned))
    this.#child = child
    await until(async () => (await this.command('PING')) !== '', `Redis answers on ${this.port}`, 60_000)
  }

  /** kill -9. */
  async kill(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (child === undefined) return
    const gone = once(child, 'close')
    child.kill('SIGCONT')
    child.kill('SIGKILL')
    await gone
  }

  /** It holds its connections and answers nothing. */
  pause(): void {
    this.#child?.kill('SIGSTOP')
  }

  resume(): void {
    this.#child?.kill('SIGCONT')
  }

  /** What it says to a line; nothing when it does not answer. */
  command(line: string): Promise<string> {
    return new Promise(resolve => {
      const socket = connect(this.port, '127.0.0.1', () => socket.write(`${line}\r\n`))
      socket.setTimeout(2_000, () => socket.destroy())
      socket.once('data', data => {
        resolve(data.toString())
        socket.destroy()
      })
      socket.once('error', () => resolve(''))
      socket.once('close', () => resolve(''))
    })
  }
}

export interface RedisForTest {
  readonly servers: readonly RedisServer[]
  /** How a ledger finds it; answers may take seconds, so that a busy machine is no broken one. */
  readonly at: RedisServers
  close(): Promise<void>
}

const arguments_ = (port: number, folder: string) => [
  ...['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'no'],
  ...['--protected-mode', 'no', '--daemonize', 'no'],
]

function settings(at: RedisServers['at']): RedisServers {
  const none = { username: undefined, password: undefined, database: 0, tls: undefined }
  return { at, ...none, connectMs: 10_000, answerMs: 10_000 }
}

export async function startRedis(more: readonly string[] = []): Promise<RedisForTest> {
  const folder = await begin()
  const [port = 0] = await freePorts(1)
  const server = new RedisServer(port, [...arguments_(port, folder), ...more])
  await server.start()
  return made([server], settings({ kind: 'single', host: '127.0.0.1', port }), folder)
}

/** Three masters. */
export async function startRedisCluster(): Promise<RedisForTest> {
  const folder = await begin()
  const all = await freePorts(6)
  const ports = all.slice(3)
  const servers = ports.map(
    (port, at) =>
      new RedisServer(port, [
        ...arguments_(port, folder),
        ...[
          '--cluster-enabled',
          'yes',
          '--cluster-config-file',
          `nodes-${port}.conf`,
          '--cluster-node-timeout',
          '2000',
        ],
        ...['--cluster-port', String(all[at])],
      ]),
  )
  await Promise.all(servers.map(server => server.start()))
  const nodes = ports.map(port => ({ host: '127.0.0.1', port }))
  await run('redis-cli', ['--cluster', 'create', ...nodes.map(({ host, port }) => `${host}:${port}`), '--cluster-yes'])
  const ready = async (server: RedisServer) => (await server.command('CLUSTER INFO')).includes('cluster_state:ok')
  await until(async () => (await Promise.all(servers.map(ready))).every(Boolean), 'the cluster is ready', 60_000)
  return made(servers, settings({ kind: 'cluster', name: 'tested', nodes }), folder)
}

/** A master and the one sentinel that knows it. */
export async function startRedisSentinel(): Promise<RedisForTest> {
  const folder = await begin()
  const [port = 0, watched = 0] = await freePorts(2)
  const master = new RedisServer(port, arguments_(port, folder))
  await master.start()
  const file = join(folder, 'sentinel.conf')
  writeFileSync(file, `port ${watched}\nbind 127.0.0.1\ndir ${folder}\nsentinel monitor tested 127.0.0.1 ${port} 1\n`)
  const sentinel = new RedisServer(watched, [file, '--sentinel'])
  await sentinel.start()
  const sentinels = [{ host: '127.0.0.1', port: watched }]
  const at = { kind: 'sentinel', master: 'tested', sentinels, username: undefined, password: undefined } as const
  return made([master, sentinel], settings(at), folder)
}

async function begin(): Promise<string> {
  await ensure('redis-server', 'redis-server')
  return mkdtempSync(join(tmpdir(), 'sluice-redis-'))
}

function made(servers: readonly RedisServer[], at: RedisServers, folder: string): RedisForTest {
  return {
    servers,
    at,
    async close() {
      await Promise.all(servers.map(server => server.kill()))
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** What a limit plugin is told so that it counts there, with the patience of a slow machine: milliseconds. */
export function redisPolicy({ servers }: RedisForTest, patience = 10_000) {
  const { port } = servers[0]!
  return {
    policy: 'redis',
    redis_host: '127.0.0.1',
    redis_port: port,
    redis_timeout: patience,
    redis_answer_ms: patience,
  }
}
