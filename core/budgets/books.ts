// The books of budgets, kept by main: which accounts there are, how each stood when it was looked at last, what is on disk of it.
import type { Ledger, Limit } from '../ledger/ledger.ts'
import type { Ledgers, OpenedLedger, RedisServers } from '../ledger/ledgers.ts'
import type { Logger } from '../observe/log.ts'
import { type AccountStanding, adjustAccount, freeze, standing } from './account.ts'
import { type Account, type Budget, spendKey } from './budget.ts'
import type { Entry, Journal } from './journal.ts'
import type { Alerts } from './metadata.ts'
import type { Touched } from './touched.ts'
import { type AccountView, viewOf } from './view.ts'
import { periodsOf } from './windows.ts'

/** An account has spent so much of its cap. */
export interface Reached {
  /** Percent. */
  readonly threshold: number
  readonly view: AccountView
}

export interface BooksOptions {
  ledgers: Pick<Ledgers, 'own' | 'redis'>
  journal: Journal
  /** Milliseconds since the epoch. */
  now(): number
  log: Logger
  /** Called once for each threshold of an account's period. */
  reached(reached: Reached, alerts: Alerts): void
}

/** What is known of the last period of a principal's account. */
export interface Kept {
  account: Account
  servers: RedisServers | undefined
  alerts: Alerts
  /** As it stood when it was looked at last. */
  used: number
  granted: number
  since: number
  told: number
}

/** Of an account that nobody has touched since the start. */
const NONE: Alerts = { thresholds: [], webhook: undefined }
/** Milliseconds between two writes. */
const WRITE_MS = 200
const COMPACT_MS = 3_600_000
/** As many as the ledger in memory has place for. */
const MOST = 65_536
/** Looked at between two turns of the loop. */
const AT_ONCE = 2_000
const MOST_SERVERS = 16

export class Books {
  readonly journal: Journal
  readonly now: () => number
  readonly #options: BooksOptions
  /** By budget and principal. */
  readonly #kept = new Map<string, Kept>()
  /** By the key of what is spent: to be looked at. */
  readonly #dirty = new Map<string, Kept>()
  readonly #opened = new Map<string, OpenedLedger>()
  #timer: NodeJS.Timeout | undefined
  #compacted = 0
  #writing: Promise<void> | undefined
  #complained = false

  constructor(options: BooksOptions) {
    this.#options = options
    this.journal = options.journal
    this.now = options.now
  }

  /** Puts what the journal has into the process's own ledger. To be called before anybody spends. */
  async restore(): Promise<void> {
    const { ledgers, journal, now } = this.#options
    const { entries, frozen } = journal.read(now())
    for (const entry of entries) {
      const { account, used, granted } = entry
      await adjustAccount(ledgers.own, account, { what: 'used', to: used })
      await adjustAccount(ledgers.own, account, { what: 'granted', to: granted })
      this.#kept.set(nameOf(account), { ...entry, servers: undefined, alerts: NONE })
    }
    for (const of of frozen) await freeze(ledgers.own, of, true)
  }

  start(): void {
    this.#timer = setInterval(() => void this.write(), WRITE_MS).unref()
  }

  /** Hears of accounts that were spent from. */
  touched(all: readonly Touched[]): void {
    for (const each of all) {
      const kept = this.#keep(each)
      if (kept !== undefined) this.#dirty.set(spendKey(each.account), kept)
    }
  }

  /** Somebody is gone who may not have told of everything. */
  lookAtAll(): void {
    for (const kept of this.#kept.values()) this.#dirty.set(spendKey(kept.account), kept)
  }

  /** Every account that is known of, or those of one budget. */
  *all(budget?: string): Iterable<Kept> {
    for (const kept of this.#kept.values()) if (budget === undefined || kept.account.budget.name === budget) yield kept
  }

  /** The account of this principal, in the period that is now; undefined where the budget is not known. */
  find(budget: string, principal: string): Kept | undefined {
    const kept = this.#kept.get(named(budget, principal))
    if (kept !== undefined) return this.#current(kept)
    // Somebody who has not spent yet.
    for (const { account, servers, alerts } of this.all(budget)) {
      const since = this.now()
      const { budget: known } = account
      const period = periodsOf(known.window)(since)
      return { account: { budget: known, principal, period }, servers, alerts, used: 0, granted: 0, since, told: 0 }
    }
    return undefined
  }

  /** How it stands now. Rejects with LedgerError. */
  async view(kept: Kept): Promise<AccountView> {
    const { account, since, servers } = this.#current(kept)
    return viewOf(account, { ...(await standing(this.ledgerOf({ servers }), account)), since }, this.now())
  }

  /** Those of these principals. What cannot be looked at is left out. */
  async standings(principals: readonly string[]): Promise<AccountView[]> {
    const wanted = new Set(principals)
    const found = [...this.all()].filter(({ account }) => wanted.has(account.principal))
    const views = await Promise.allSettled(found.map(kept => this.view(kept)))
    return views.flatMap(each => (each.status === 'fulfilled' ? [each.value] : []))
  }

  /** Notes how an account stands after an operator has changed it. */
  note(kept: Kept, { spent, granted }: Pick<AccountStanding, 'spent' | 'granted'>, told: number): void {
    Object.assign(this.#keep(kept) ?? kept, { used: spent, granted, told })
  }

  ledgerOf({ servers }: Pick<Kept, 'servers'>): Ledger {
    if (servers === undefined) return this.#options.ledgers.own
    const name = JSON.stringify(servers)
    const known = this.#opened.get(name)
    if (known !== undefined) return known.ledger
    for (const [old, opened] of this.#opened) {
      if (this.#opened.size < MOST_SERVERS) break
      this.#opened.delete(old)
      void opened.close()
    }
    const opened = this.#options.ledgers.redis(servers, { answer: 'refuse' })
    this.#opened.set(name, opened)
    return opened.ledger
  }

  /** Looks at what was touched and writes what has changed; resolves when it is on disk. Never rejects. */
  write(): Promise<void> {
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined
    })
    return this.#writing
  }

  /** Writes what is left. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.lookAtAll()
    await this.#writing
    await this.write()
    for (const opened of this.#opened.values()) await opened.close()
    this.journal.close()
  }

  async #write(): Promise<void> {
    const { journal, log } = this.#options
    for (let left = this.#dirty.size; left > 0; left -= AT_ONCE) {
      const batch = [...this.#dirty].slice(0, AT_ONCE)
      for (const [key] of batch) this.#dirty.delete(key)
      const looked = await Promise.all(batch.map(async ([key, kept]) => await this.#look(key, kept)))
      const changed = looked.flatMap(each => (each === undefined ? [] : [each]))
      if (changed.length === 0) continue
      try {
        // What others keep is theirs to keep.
        const ours = changed.filter(({ kept }) => kept.servers === undefined)
        journal.write(
          ours.map(({ entry }) => entry),
          this.now(),
        )
        this.#complained = false
      } catch (error) {
        for (const { key, kept } of changed) this.#dirty.set(key, kept)
        if (!this.#complained) log.error({ err: error }, 'what is spent of budgets cannot be written; trying again')
        this.#complained = true
        return
      }
      for (const { kept, entry, reached } of changed) {
        const { used, granted, told } = entry
        Object.assign(kept, { used, granted, told })
        for (const each of reached) this.#options.reached(each, kept.alerts)
      }
    }
    const now = this.now()
    if (now - this.#compacted < COMPACT_MS) return
    this.#compacted = now
    try {
      journal.compact(now)
    } catch (error) {
      log.error({ err: error }, 'the journal of budgets cannot be compacted')
    }
  }

  /** What has changed of it, and what it has reached; undefined when nothing has, or nobody can say now. */
  async #look(key: string, kept: Kept): Promise<Looked | undefined> {
    const { account } = kept
    try {
      const stands = await standing(this.ledgerOf(kept), account)
      // The place of a period that is over may be somebody else's by now.
      const over = this.now() >= account.period.end
      const { spent, granted } = over ? { spent: Math.max(stands.spent, kept.used), granted: kept.granted } : stands
      const entry = { account, used: spent, granted }
      const reached: Reached[] = []
      let { told } = kept
      for (const threshold of kept.alerts.thresholds) {
        if (threshold <= told || !isReached(account.budget, entry, threshold)) continue
        told = threshold
        if (!(await this.#isFirst(kept, `${key}/${threshold}`))) continue
        reached.push({ threshold, view: viewOf(account, { ...stands, spent, granted, since: kept.since }, this.now()) })
      }
      if (entry.used === kept.used && entry.granted === kept.granted && told === kept.told) return undefined
      return { key, kept, entry: { ...entry, since: kept.since, told }, reached }
    } catch (error) {
      this.#dirty.set(key, kept)
      this.#options.log.debug({ err: error }, 'an account of a budget cannot be looked at')
      return undefined
    }
  }

  /** Whether no other gateway has told of it; of what is only ours we know. */
  async #isFirst({ account, servers }: Kept, key: string): Promise<boolean> {
    if (servers === undefined) return true
    return (await this.ledgerOf({ servers }).take(key, once(account), { amount: 1 })).allowed
  }

  #keep({ account, servers, alerts }: Touched): Kept | undefined {
    const name = nameOf(account)
    const known = this.#kept.get(name)
    const current = known?.account.period.start === account.period.start
    if (known !== undefined && current) return Object.assign(known, { account, servers, alerts })
    const kept = { account, servers, alerts, used: 0, granted: 0, since: known?.since ?? this.now(), told: 0 }
    // Settled in a period that is over, when another has begun: it is written, and nobody is told.
    if (known !== undefined && known.account.period.start > account.period.start) return { ...kept, alerts: NONE }
    if (known === undefined && !this.#hasPlace()) return undefined
    this.#kept.set(name, kept)
    return kept
  }

  /** Makes some when there is none, by forgetting whose period is over. */
  #hasPlace(): boolean {
    if (this.#kept.size < MOST) return true
    const now = this.now()
    for (const [name, { account }] of this.#kept) if (account.period.end <= now) this.#kept.delete(name)
    if (this.#kept.size < MOST) return true
    this.#options.log.error({ most: MOST }, 'too many accounts of budgets: one is neither written nor shown')
    return false
  }

  /** The same in the period that is now. */
  #current(kept: Kept): Kept {
    const { budget, principal, period } = kept.account
    const now = this.now()
    if (now < period.end) return kept
    return {
      ...kept,
      account: { budget, principal, period: periodsOf(budget.window)(now) },
      used: 0,
      granted: 0,
      told: 0,
    }
  }
}

interface Looked {
  readonly key: string
  readonly kept: Kept
  readonly entry: Entry
  readonly reached: readonly Reached[]
}

/** One, in its period. */
export function once({ period: { end } }: Account): Limit {
  return end === Number.POSITIVE_INFINITY ? { kind: 'balance', limit: 1 } : { kind: 'period', limit: 1, endMs: end }
}

function nameOf({ budget, principal }: Account): string {
  return named(budget.name, principal)
}

function named(budget: string, principal: string): string {
  return `${budget}\n${principal}`
}

/** Of a cap of nothing nothing can be spent. */
function isReached({ cap }: Budget, { used, granted }: { used: number; granted: number }, percent: number): boolean {
  return cap !== undefined && used > 0 && used / (cap + granted) >= percent / 100
}
