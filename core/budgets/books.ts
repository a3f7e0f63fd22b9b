// The books of budgets, kept by main: what is spent is looked at and written, and whoever should hears of it; grants nothing.
import { setImmediate as turnOfLoop } from 'node:timers/promises'
import { type Ledger, LedgerError, type Limit } from '../ledger/ledger.ts'
import type { Ledgers, OpenedLedger } from '../ledger/ledgers.ts'
import { type AccountStanding, adjustAccount, freeze, standing } from './account.ts'
import { type Account, type Budget, spendKey } from './budget.ts'
import { Directory, type DirectoryOptions, type Kept } from './directory.ts'
import type { Entry, Journal } from './journal.ts'
import type { Alerts } from './metadata.ts'
import type { Touched } from './touched.ts'
import { type AccountView, viewOf } from './view.ts'

/** An account has spent so much of its cap. */
export interface Reached {
  /** Percent. */
  readonly threshold: number
  readonly view: AccountView
}

export interface BooksOptions extends DirectoryOptions {
  ledgers: Pick<Ledgers, 'own' | 'redis'>
  journal: Journal
  /** Called once for each threshold of an account's period. */
  reached(reached: Reached, alerts: Alerts): void
}

/** Milliseconds between two writes. */
const WRITE_MS = 200
const COMPACT_MS = 3_600_000
/** For which Redis is not asked again that did not answer. */
const AWAY_MS = 1_000
/** Looked at between two turns of the loop: some 10 ms. */
const AT_ONCE = 500
const MOST_SERVERS = 16

export class Books {
  readonly journal: Journal
  readonly accounts: Directory
  readonly now: () => number
  readonly #options: BooksOptions
  /** By the key of what is spent: to be looked at. */
  readonly #dirty = new Map<string, Kept>()
  readonly #opened = new Map<string, OpenedLedger>()
  #timer: NodeJS.Timeout | undefined
  #compacted = 0
  #writing: Promise<void> | undefined
  /** Over when nobody is at the books. */
  #turn: Promise<unknown> = Promise.resolve()
  #complained = false
  /** On a monotonic clock. */
  #awayUntil = 0

  constructor(options: BooksOptions) {
    this.#options = options
    this.journal = options.journal
    this.accounts = new Directory(options)
    this.now = options.now
  }

  /** Puts what the journal has into the process's own ledger. To be called before anybody spends. */
  async restore(): Promise<void> {
    const { journal, now, log } = this.#options
    const { entries, frozen } = journal.read(now())
    let lost = 0
    for (const of of frozen) if (!(await this.#fits(ledger => freeze(ledger, of, true)))) lost++
    for (const entry of entries) {
      const { account, used, granted } = entry
      const change = async (ledger: Ledger) => {
        if (used > 0) await adjustAccount(ledger, account, { what: 'used', to: used })
        if (granted > 0) await adjustAccount(ledger, account, { what: 'granted', to: granted })
      }
      if (await this.#fits(change)) this.accounts.restore(entry)
      else lost++
    }
    if (lost > 0)
      log.error({ accounts: lost }, 'there is no place in memory for all accounts of budgets that are on disk')
  }

  /** Whether the process's own ledger has place for it. Whoever spends finds none either, and is refused. */
  async #fits(change: (ledger: Ledger) => Promise<void>): Promise<boolean> {
    try {
      await change(this.#options.ledgers.own)
      return true
    } catch (error) {
      if (error instanceof LedgerError) return false
      throw error
    }
  }

  start(): void {
    this.#timer = setInterval(() => void this.write(), WRITE_MS).unref()
  }

  /** Hears of accounts that were spent from. */
  touched(all: readonly Touched[]): void {
    for (const each of all) {
      const kept = this.accounts.keep(each)
      if (kept !== undefined) this.#dirty.set(spendKey(each.account), kept)
    }
  }

  /** Somebody is gone who may not have told of everything. */
  lookAtAll(): void {
    for (const kept of this.accounts.all()) this.#dirty.set(spendKey(kept.account), kept)
  }

  /** How it stands now. Rejects with LedgerError. */
  async view(kept: Kept): Promise<AccountView> {
    const { account, since, servers } = this.accounts.current(kept)
    return viewOf(account, { ...(await standing(this.ledgerOf({ servers }), account)), since }, this.now())
  }

  /** Those of these principals that somebody has used. What cannot be looked at is left out. */
  async standings(principals: readonly string[]): Promise<AccountView[]> {
    const views = await Promise.allSettled([
      ...this.accounts.of(principals).map(kept => this.view(kept)),
      ...principals.flatMap(each => this.accounts.unused(each)).map(kept => this.#viewOfUsed(kept)),
    ])
    return views.flatMap(each => (each.status === 'fulfilled' && each.value !== undefined ? [each.value] : []))
  }

  /** Notes how an account stands after an operator has changed it. */
  note(kept: Kept, { spent, granted }: Pick<AccountStanding, 'spent' | 'granted'>, told: number): void {
    Object.assign(this.accounts.keep(kept) ?? kept, { used: spent, granted, told })
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
    this.#writing ??= this.alone(() => this.#write()).finally(() => {
      this.#writing = undefined
    })
    return this.#writing
  }

  /** One after the other, writing included: nobody writes how an account stood before somebody else has changed it. */
  alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => {})
    return done
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
      const batch: [string, Kept][] = []
      for (const each of this.#dirty) {
        if (batch.push(each) === AT_ONCE) break
      }
      for (const [key] of batch) this.#dirty.delete(key)
      const looked = await Promise.all(batch.map(async ([key, kept]) => await this.#look(key, kept)))
      const changed = looked.flatMap(each => (each === undefined ? [] : [each]))
      // Others want to be answered by this thread too.
      if (left > AT_ONCE) await turnOfLoop()
      // What others keep is theirs to keep.
      const ours = changed.filter(({ kept }) => kept.servers === undefined)
      this.#done(changed.filter(({ kept }) => kept.servers !== undefined))
      if (ours.length === 0) continue
      try {
        journal.write(
          ours.map(({ entry }) => entry),
          this.now(),
        )
        this.#complained = false
      } catch (error) {
        for (const { key, kept } of ours) this.#dirty.set(key, kept)
        if (!this.#complained) log.error({ err: error }, 'what is spent of budgets cannot be written; trying again')
        this.#complained = true
        return
      }
      this.#done(ours)
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

  #done(changed: readonly Looked[]): void {
    for (const { kept, entry, reached } of changed) {
      const { used, granted, told } = entry
      Object.assign(kept, { used, granted, told })
      for (const each of reached) this.#options.reached(each, kept.alerts)
    }
  }

  /** What has changed of it, and what it has reached; undefined when nothing has, or nobody can say now. */
  async #look(key: string, kept: Kept): Promise<Looked | undefined> {
    const { account, servers } = kept
    if (servers !== undefined && performance.now() < this.#awayUntil) {
      this.#dirty.set(key, kept)
      return undefined
    }
    try {
      const stands = await standing(this.ledgerOf(kept), account)
      // The place of a period that is over may be somebody else's by now.
      const over = this.now() >= account.period.end
      const { spent, granted } = over ? { spent: Math.max(stands.spent, kept.used), granted: kept.granted } : stands
      const entry = { account, used: spent, granted }
      const passed = kept.alerts.thresholds.filter(each => each > kept.told && isReached(account.budget, entry, each))
      const told = passed.at(-1) ?? kept.told
      const reached: Reached[] = []
      for (const threshold of passed) {
        if (!(await this.#isFirst(kept, `${key}/${threshold}`))) continue
        reached.push({ threshold, view: viewOf(account, { ...stands, spent, granted, since: kept.since }, this.now()) })
      }
      if (entry.used === kept.used && entry.granted === kept.granted && told === kept.told) return undefined
      return { key, kept, entry: { ...entry, since: kept.since, told }, reached }
    } catch (error) {
      this.#dirty.set(key, kept)
      // A ledger that is away need not be asked five times a second for every account.
      this.#awayUntil = performance.now() + AWAY_MS
      this.#options.log.debug({ err: error }, 'an account of a budget cannot be looked at')
      return undefined
    }
  }

  async #viewOfUsed(kept: Kept): Promise<AccountView | undefined> {
    const { account, since } = kept
    const stands = await standing(this.ledgerOf(kept), account)
    const used = stands.spent > 0 || stands.reserved > 0 || stands.granted > 0 || stands.frozen
    return used ? viewOf(account, { ...stands, since }, this.now()) : undefined
  }

  /** Whether no other gateway has told of it; of what is only ours we know. When nobody can say it is told twice rather than never. */
  async #isFirst({ account, servers }: Kept, key: string): Promise<boolean> {
    if (servers === undefined) return true
    try {
      return (await this.ledgerOf({ servers }).take(key, once(account), { amount: 1 })).allowed
    } catch (error) {
      if (error instanceof LedgerError) return true
      throw error
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

/** Of a cap of nothing nothing can be spent. */
function isReached({ cap }: Budget, { used, granted }: { used: number; granted: number }, percent: number): boolean {
  return cap !== undefined && used > 0 && used / (cap + granted) >= percent / 100
}
