// Which accounts of budgets there are, as they were used last and as they are configured now; counts and writes nothing.
import { isDeepStrictEqual } from 'node:util'
import type { RedisServers } from '../ledger/ledgers.ts'
import type { Logger } from '../observe/log.ts'
import type { Account, Budget } from './budget.ts'
import type { Defined } from './configured.ts'
import type { Entry } from './journal.ts'
import type { Alerts } from './metadata.ts'
import { principalKind } from './principal.ts'
import type { Touched } from './touched.ts'
import { periodsOf } from './windows.ts'

export interface DirectoryOptions {
  /** Budgets that the configuration has, by name; without it only those are known that were used. */
  configured?: { readonly known: ReadonlyMap<string, Defined> } | undefined
  /** Milliseconds since the epoch. */
  now(): number
  log: Logger
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
/** As many as the ledger in memory has place for. */
const MOST = 65_536
/** Milliseconds for which nobody looks for a place again where there was none: each look is one at all accounts. */
const FULL_MS = 10_000

export class Directory {
  readonly #options: DirectoryOptions
  /** By budget and principal. */
  readonly #kept = new Map<string, Kept>()
  /** Of budgets that were used. */
  readonly #names = new Set<string>()
  /** On a monotonic clock. */
  #fullUntil = 0

  constructor(options: DirectoryOptions) {
    this.#options = options
  }

  /** An account that was there before a restart. */
  restore(entry: Entry): void {
    const { budget, period } = entry.account
    // Of a window that was configured before, a period may still not be over.
    const isOther = () => periodsOf(budget.window)(this.#options.now()).start !== period.start
    if (this.#kept.has(nameOf(entry.account)) && isOther()) return
    this.#add({ ...entry, servers: undefined, alerts: NONE })
  }

  /** Every account that was used, or those of one budget. */
  *all(budget?: string): Iterable<Kept> {
    for (const kept of this.#kept.values()) if (budget === undefined || kept.account.budget.name === budget) yield kept
  }

  /** The used accounts of these principals, found without a look at all: whoever has a budget may ask as often as it likes. */
  of(principals: readonly string[]): Kept[] {
    return [...this.#names].flatMap(name => principals.flatMap(each => this.#kept.get(named(name, each)) ?? []))
  }

  /** Every budget there is, and how many accounts of it were used. */
  budgets(): { budget: Budget; accounts: number }[] {
    const used = Map.groupBy(this.#kept.values(), ({ account }) => account.budget.name)
    const names = new Set([...used.keys(), ...(this.#options.configured?.known.keys() ?? [])])
    return [...names].map(name => ({ budget: this.budget(name)!, accounts: used.get(name)?.length ?? 0 }))
  }

  budget(name: string): Budget | undefined {
    return this.#defined(name)?.budget
  }

  /** Of whom the configuration has this budget: what stands before the colon of its principals. */
  kindOf(budget: string): string | undefined {
    const configured = this.#options.configured?.known.get(budget)
    return configured && principalKind(configured.principal)
  }

  /** The account of this principal, in the period that is now; undefined where there is no such budget, or it is for others. */
  find(budget: string, principal: string): Kept | undefined {
    const kept = this.#kept.get(named(budget, principal))
    if (kept !== undefined) return this.current(kept)
    const kind = this.kindOf(budget)
    if (kind !== undefined && !principal.startsWith(`${kind}:`)) return undefined
    const defined = this.#defined(budget)
    if (defined === undefined) return undefined
    const { servers, alerts } = defined
    const since = this.#options.now()
    const account = { budget: defined.budget, principal, period: periodsOf(defined.budget.window)(since) }
    return { account, servers, alerts, used: 0, granted: 0, since, told: 0 }
  }

  /** Accounts of a principal that other gateways may have used, and this one has not. */
  unused(principal: string): Kept[] {
    return [...(this.#options.configured?.known.values() ?? [])].flatMap(({ budget, principal: kind, servers }) => {
      if (servers === undefined || !principal.startsWith(`${principalKind(kind)}:`)) return []
      return this.#kept.has(named(budget.name, principal)) ? [] : [this.find(budget.name, principal)!]
    })
  }

  /** The same as its budget is configured, in the period that is now. */
  current(kept: Kept): Kept {
    const { principal, period, budget: used } = kept.account
    const { budget, servers, alerts } = this.#options.configured?.known.get(used.name) ?? { ...kept, budget: used }
    const now = this.#options.now()
    const goesOn = now < period.end && isDeepStrictEqual(budget.window, used.window)
    if (goesOn) return { ...kept, account: { budget, principal, period }, servers, alerts }
    const account = { budget, principal, period: periodsOf(budget.window)(now) }
    return { ...kept, account, servers, alerts, used: 0, granted: 0, told: 0 }
  }

  /** Notes that an account is used; undefined when there is no place for it. */
  keep({ account, servers, alerts }: Touched): Kept | undefined {
    const name = nameOf(account)
    const known = this.#kept.get(name)
    if (known?.account.period.start === account.period.start) return Object.assign(known, { account, servers, alerts })
    const since = known?.since ?? this.#options.now()
    const kept = { account, servers, alerts, used: 0, granted: 0, since, told: 0 }
    // Settled in a period that is over, when another has begun: it is written, and nobody is told.
    if (known !== undefined && this.#outlasts(known, account)) return { ...kept, alerts: NONE }
    if (known === undefined && !this.#hasPlace()) return undefined
    this.#add(kept)
    return kept
  }

  /** Whether the known period is later than this one; of another window's, whether it is of the one that is configured. */
  #outlasts({ account: known }: Kept, { budget, period }: Account): boolean {
    const { window } = known.budget
    if (isDeepStrictEqual(window, budget.window)) return known.period.start > period.start
    return isDeepStrictEqual(window, this.#options.configured?.known.get(budget.name)?.budget.window)
  }

  #add(kept: Kept): void {
    this.#kept.set(nameOf(kept.account), kept)
    this.#names.add(kept.account.budget.name)
  }

  /** Makes some when there is none, by forgetting whose period is over. */
  #hasPlace(): boolean {
    if (this.#kept.size < MOST) return true
    if (performance.now() < this.#fullUntil) return false
    const now = this.#options.now()
    for (const [name, { account }] of this.#kept) if (account.period.end <= now) this.#kept.delete(name)
    if (this.#kept.size < MOST) return true
    this.#fullUntil = performance.now() + FULL_MS
    this.#options.log.error({ most: MOST }, 'too many accounts of budgets: some are neither written nor shown')
    return false
  }

  /** As it is configured, else as it was used last. */
  #defined(name: string): Pick<Defined, 'budget' | 'servers' | 'alerts'> | undefined {
    const configured = this.#options.configured?.known.get(name)
    if (configured !== undefined) return configured
    for (const { account, servers, alerts } of this.all(name)) return { budget: account.budget, servers, alerts }
    return undefined
  }
}

function nameOf({ budget, principal }: Account): string {
  return named(budget.name, principal)
}

function named(budget: string, principal: string): string {
  return `${budget}\n${principal}`
}
