// A gateway on an etcd cluster that everything happens to, round after round: what it serves after each is what etcd has.
import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { type EtcdOptions, EtcdStore } from '../core/store/etcd/etcd.ts'
import { LastGood } from '../core/store/etcd/last-good.ts'
import { Mirror } from '../core/store/etcd/mirror.ts'
import { type Item, type Revision, StoreUnavailable, type Write } from '../core/store/store.ts'
import { type EtcdCluster, type EtcdMember, etcdOptions, startEtcd } from './helpers/etcd.ts'
import { startGateway, type TestGateway } from './helpers/gateway.ts'
import { type Journal, openJournal } from './helpers/journal.ts'
import { randomness } from './helpers/randomness.ts'
import { until } from './helpers/until.ts'
import { startUpstream } from './helpers/upstream.ts'

type Random = (below: number) => number

interface Fault {
  /** What happens; resolves when it is over, or still on: then `heal` of every proxy and node ends it. */
  strike(bench: Bench, random: Random): Promise<void>
  /** Whether etcd itself forgets: then revisions may go back, and what was acknowledged be gone. */
  forgets?: boolean
}

export interface FaultReport {
  rounds: { fault: string; convergedMs: number }[]
  medianMs: number
  maxMs: number
  writes: number
  /** Writes whose outcome could not be found out in time. */
  unknown: number
  /** Keys whose value in etcd is not what their writer was told. */
  wrong: string[]
  /** Times a revision that is served was lower than one before, with no data lost. */
  backwards: number
  requests: number
  failedRequests: number
  /** Times an audit had to find what the watch had missed, with no data lost. */
  missed: number
}

export const faults: Readonly<Record<string, Fault>> = {
  'kill -9 of the leader': { strike: async ({ cluster }) => (await cluster.leader()).kill() },
  'kill -9 of a follower': { strike: async ({ cluster }) => (await follower(cluster)).kill() },
  'kill -9 of all': {
    async strike({ cluster, last }) {
      await Promise.all(cluster.members.map(member => member.kill()))
      await delay(last / 2)
    },
  },
  'SIGSTOP of the leader': {
    async strike({ cluster, last }) {
      const leader = await cluster.leader()
      leader.pause()
      await delay(last * 2)
    },
  },
  'SIGSTOP of a majority': {
    async strike({ cluster, last }) {
      for (const member of cluster.members.slice(1)) member.pause()
      await delay(last * 2)
    },
  },
  'compaction past the watch revision': {
    async strike({ cluster, last }) {
      for (const { proxy } of cluster.members) proxy.refuse()
      await delay(last / 2)
      await cluster.compact()
    },
  },
  'compaction all the time, and connections cut all the time': {
    async strike({ cluster, last }, random) {
      const end = performance.now() + last * 2
      while (performance.now() < end) {
        await delay(random(150))
        for (const { proxy } of cluster.members) proxy.cut()
        if (random(3) === 0) await cluster.compact().catch(() => {})
      }
    },
  },
  'cut before created': cutAt('before created'),
  'cut between created and replay': cutAt('after created'),
  'cut within a fragment': cutAt('within a fragment'),
  'cut between fragments': cutAt('after a fragment'),
  blackhole: {
    async strike({ cluster, last }) {
      for (const { proxy } of cluster.members) proxy.blackhole()
      await delay(last * 3)
    },
  },
  'blackhole of one member': {
    async strike({ cluster, last }, random) {
      cluster.members[random(cluster.members.length)]!.proxy.blackhole()
      await delay(last * 3)
    },
  },
  'answers lost': {
    async strike({ cluster, last }) {
      for (const { proxy } of cluster.members) proxy.mute()
      await delay(last)
    },
  },
  refused: {
    async strike({ cluster, last }) {
      for (const { proxy } of cluster.members) proxy.refuse()
      await delay(last)
    },
  },
  'wiped data': { forgets: true, strike: ({ cluster }) => cluster.wipe() },
  'data restored from a backup': {
    forgets: true,
    async strike({ cluster, last }) {
      const folder = mkdtempSync(join(tmpdir(), 'sluice-backup-'))
      const killed = () => Promise.all(cluster.members.map(member => member.kill()))
      const start = () => {
        for (const member of cluster.members) member.start()
        return cluster.settled()
      }
      await killed()
      for (const member of cluster.members) cpSync(member.folder, join(folder, member.name), { recursive: true })
      await start()
      await delay(last)
      for (const { proxy } of cluster.members) proxy.refuse()
      await killed()
      for (const member of cluster.members) {
        rmSync(member.folder, { recursive: true })
        cpSync(join(folder, member.name), member.folder, { recursive: true })
      }
      await start()
      // The gateway comes back when etcd has long passed where it was.
      await delay(last)
      rmSync(folder, { recursive: true })
    },
  },
  'a restart with authentication on': {
    async strike({ cluster, last }) {
      const auth = (method: string, request: object, token?: string) =>
        cluster.members[0]!.call<{ token: string }>({ service: 'Auth', method, request }, token)
      await auth('authEnable', {})
      await Promise.all(cluster.members.map(member => member.kill()))
      for (const member of cluster.members) member.start()
      await cluster.settled()
      await delay(last)
      const { token } = await auth('authenticate', { name: 'root', password: 'root' })
      await auth('authDisable', {}, token)
    },
  },
}

function cutAt(point: Parameters<EtcdMember['proxy']['cutNext']>[0]): Fault {
  return {
    async strike({ cluster, burst }) {
      for (let times = 0; times < 3; times++) {
        for (const { proxy } of cluster.members) proxy.refuse()
        // What is replayed then fills several fragments.
        await burst()
        const cut = Promise.race(cluster.members.map(member => member.proxy.cutNext(point)))
        for (const { proxy } of cluster.members) proxy.heal()
        await cut
      }
    },
  }
}

async function follower(cluster: EtcdCluster): Promise<EtcdMember> {
  const leader = await cluster.leader()
  return cluster.members.find(member => member !== leader)!
}

/** What is watched while it happens. */
class Bench {
  readonly cluster: EtcdCluster
  /** Milliseconds that faults last, more or less. */
  readonly last: number
  readonly journal: Journal = openJournal()
  readonly options: EtcdOptions
  readonly mirror: Mirror
  /** Past the proxies. */
  readonly direct: EtcdStore
  readonly #random: Random
  readonly #store: EtcdStore
  readonly #folder: string
  readonly #writers: Writer[]
  readonly report = {
    writes: 0,
    unknown: 0,
    backwards: 0,
    requests: 0,
    failedRequests: 0,
    missed: 0,
    wrong: [] as string[],
  }
  #gateway: TestGateway | undefined
  #upstream: Awaited<ReturnType<typeof startUpstream>> | undefined
  #writing: Promise<unknown> | undefined
  #applied: Revision = 0
  #forgets = false
  #over = false
  #asking: Promise<void> | undefined

  constructor(cluster: EtcdCluster, last: number, random: Random) {
    this.cluster = cluster
    this.last = last
    this.#random = random
    // The user is there from the beginning, though etcd asks for one only in one of the faults.
    this.options = etcdOptions(cluster.hosts, {
      prefix: '/apisix',
      user: 'root',
      password: 'root',
      healthCheckTimeout: 2_000,
    })
    const urls = cluster.members.map(({ url }) => url)
    this.#folder = mkdtempSync(join(tmpdir(), 'sluice-faults-'))
    this.direct = new EtcdStore({ ...this.options, hosts: urls })
    this.#store = new EtcdStore({ ...this.options, log: this.journal.log })
    this.mirror = new Mirror({
      store: this.#store,
      lastGood: new LastGood(this.#folder, this.options.prefix),
      startupRetry: 1,
      isGood: () => undefined,
      log: this.journal.log,
      now: Date.now,
      auditEvery: 500,
    })
    this.#writers = [new Writer('direct', this.direct, random), new Writer('proxied', this.#store, random)]
  }

  async open(): Promise<void> {
    await this.#addUser()
    this.#upstream = await startUpstream()
    this.#upstream.script = received => received.json(200, {})
    await this.#probe()
    await this.mirror.start()
    this.#gateway = await startGateway({ source: this.mirror, applied: revision => this.#apply(revision) })
    this.#asking = this.#ask()
  }

  /** One fault, with writers all the while, and how long it took until the gateway had what etcd has. */
  async round(fault: Fault): Promise<number> {
    this.#forgets = fault.forgets ?? false
    this.#write()
    await fault.strike(this, this.#random)
    const healed = performance.now()
    await this.#heal()
    await delay(this.#random(300))
    await this.#rest()
    await until(() => this.equal(), 'the gateway has what etcd has', 30_000)
    const took = performance.now() - healed
    if (this.#forgets) {
      for (const writer of this.#writers) writer.forget()
      await this.#addUser()
      await this.#probe()
      await until(() => this.equal(), 'the gateway has the probe again', 30_000)
      this.#applied = 0
    } else {
      this.report.wrong.push(...(await this.#wrong()))
      this.report.missed += this.journal.lines.filter(({ message }) => message.includes('was not that of etcd')).length
    }
    this.journal.lines.length = 0
    this.#forgets = false
    return took
  }

  /** Many large writes of several keys each, past the proxies. */
  burst = async (): Promise<void> => {
    const content = 'x'.repeat(20_000)
    const at = Date.now()
    for (let n = 0; n < 40; n++) {
      const ids = [`large${n}`, `large${n}+`]
      await this.direct.write(ids.map(id => ({ kind: 'protos', id, value: { at, content } })))
    }
  }

  async equal(): Promise<boolean> {
    try {
      const [theirs, own] = [await this.direct.list(), await this.mirror.list()]
      const newest = new Map(own.items.map(item => [keyOf(item), item]))
      return (
        isDeepStrictEqual(newest, new Map(theirs.items.map(item => [keyOf(item), item]))) && this.#serves(theirs.items)
      )
    } catch (error) {
      if (error instanceof StoreUnavailable) return false
      throw error
    }
  }

  /** What the workers' part has rejected is what cannot be served, and nothing else. */
  #serves(items: readonly Item[]): boolean {
    return this.#gateway!.rejected.length === items.filter(({ kind }) => kind === 'protos').length
  }

  async close(): Promise<void> {
    this.#over = true
    await this.#asking
    await this.#rest()
    await this.#gateway?.close()
    await this.mirror.close()
    await this.#store.close()
    await this.direct.close()
    await this.#upstream?.close()
    rmSync(this.#folder, { recursive: true })
  }

  async #heal(): Promise<void> {
    for (const member of this.cluster.members) {
      if (!member.running) member.start()
      member.resume()
      void member.proxy.cutNext(undefined)
      member.proxy.heal()
    }
  }

  #write(): void {
    for (const writer of this.#writers) writer.stopped = false
    this.#writing = Promise.all(this.#writers.map(writer => writer.run()))
  }

  async #rest(): Promise<void> {
    for (const writer of this.#writers) {
      writer.stopped = true
      this.report.writes += writer.written
      this.report.unknown += writer.unknown
      writer.written = 0
      writer.unknown = 0
    }
    await this.#writing
  }

  async #wrong(): Promise<string[]> {
    const items = new Map((await this.direct.list()).items.map(item => [keyOf(item), item]))
    return this.#writers.flatMap(writer => writer.wrong(items))
  }

  /** A restored cluster has the user still. */
  async #addUser(): Promise<void> {
    const auth = (method: string, request: object) =>
      this.cluster.members[0]!.call({ service: 'Auth', method, request }).catch(() => {})
    await auth('userAdd', { name: 'root', password: 'root' })
    await auth('roleAdd', { name: 'root' })
    await auth('userGrantRole', { user: 'root', role: 'root' })
  }

  async #probe(): Promise<void> {
    const upstream = { type: 'roundrobin', nodes: { [`127.0.0.1:${this.#upstream!.port}`]: 1 } }
    await this.direct.write([{ kind: 'routes', id: 'probe', value: { id: 'probe', uri: '/probe', upstream } }])
  }

  #apply(revision: Revision): void {
    if (revision < this.#applied && !this.#forgets) this.report.backwards++
    this.#applied = revision
  }

  async #ask(): Promise<void> {
    while (!this.#over) {
      const expected = !this.#forgets
      const { status } = await fetch(`${this.#gateway!.url}/probe`).catch(() => ({ status: 0 }))
      if (expected && !this.#forgets) {
        this.report.requests++
        if (status !== 200) this.report.failedRequests++
      }
      await delay(5)
    }
  }
}

const MOST_KEYS = 300

/** Writes keys of its own, and knows what must be there: the last value acknowledged, or one whose outcome is not known. */
class Writer {
  stopped = true
  written = 0
  unknown = 0
  readonly #name: string
  readonly #store: EtcdStore
  readonly #random: Random
  readonly #may = new Map<string, (string | null)[]>()
  #n = 0

  constructor(name: string, store: EtcdStore, random: Random) {
    this.#name = name
    this.#store = store
    this.#random = random
  }

  async run(): Promise<void> {
    while (!this.stopped) {
      // A key is not written again for a while, so that what was wrong stays.
      const remove = this.#n > MOST_KEYS && this.#random(4) === 0
      const id = `${this.#name}-${this.#n++ % MOST_KEYS}`
      const value = remove ? null : { id, uri: `/${id}/${this.#n}`, upstream: { nodes: { 'a:1': 1 } } }
      const write: Write = { kind: 'routes', id, value }
      const text = value === null ? null : JSON.stringify(value)
      const before = this.#may.get(id) ?? [null]
      this.#may.set(id, [...before, text])
      try {
        await this.#store.write([write])
        this.#may.set(id, [text])
        this.written++
      } catch (error) {
        if (!(error instanceof StoreUnavailable)) throw error
        if (error.outcome === 'not_written') this.#may.set(id, before)
        else this.unknown++
        await delay(20)
      }
      await delay(this.#random(10))
    }
  }

  /** Keys whose value is none that it may be. */
  wrong(items: ReadonlyMap<string, Item>): string[] {
    return [...this.#may].flatMap(([id, may]) => {
      const item = items.get(`routes/${id}`)
      const text = item === undefined ? null : JSON.stringify(item.value)
      return may.includes(text) ? [] : [`${id} is ${text}, expected ${may.join(' or ')}`]
    })
  }

  forget(): void {
    this.#may.clear()
  }
}

function keyOf({ kind, id }: Item): string {
  return `${kind}/${id}`
}

/**
 * Runs `rounds` faults, those that are `named` or all of them, in an order that follows from `seed`, each of them once before
 * any a second time. Faults last about `last` milliseconds.
 */
export async function faultRounds(
  rounds: number,
  seed: number,
  {
    named = Object.keys(faults),
    last = 1_000,
    say = () => {},
  }: { named?: readonly string[]; last?: number; say?: (line: string) => void } = {},
): Promise<FaultReport> {
  const random = randomness(seed)
  // Replies are fragments when they are larger than this and half a megabyte.
  const cluster = await startEtcd({ members: 3, args: ['--max-request-bytes', '65536'] })
  const bench = new Bench(cluster, last, random)
  const done: FaultReport['rounds'] = []
  try {
    await bench.open()
    for (let order: string[] = []; done.length < rounds; ) {
      if (order.length === 0) order = shuffled(named, random)
      const fault = order.pop()!
      const convergedMs = Math.round(await bench.round(faults[fault]!))
      done.push({ fault, convergedMs })
      say(`${done.length}: ${fault}: ${convergedMs} ms`)
    }
  } finally {
    await bench.close()
    await cluster.close()
  }
  const times = done.map(({ convergedMs }) => convergedMs).sort((a, b) => a - b)
  return { rounds: done, medianMs: times[times.length >> 1]!, maxMs: times.at(-1)!, ...bench.report }
}

/** Throws when something was lost or invented, went back or failed. How long it took is for others to judge. */
export function assertHeld({ wrong, backwards, missed, failedRequests, requests, writes }: FaultReport): void {
  const held = { wrong: [], backwards: 0, missed: 0, failedRequests: 0 }
  assert.deepEqual({ wrong, backwards, missed, failedRequests }, held)
  assert.ok(requests > 0 && writes > 0)
}

function shuffled<T>(values: readonly T[], random: Random): T[] {
  const left = [...values]
  return values.map(() => left.splice(random(left.length), 1)[0]!)
}
