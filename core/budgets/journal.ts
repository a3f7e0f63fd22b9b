// What is spent of budgets, on disk: accounts as they stood last, who is frozen, what operators have changed; counts nothing itself.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { asError } from '../errors.ts'
import type { Logger } from '../observe/log.ts'
import { openDatabase } from '../store/embedded-file.ts'
import type { Account, Budget } from './budget.ts'

const tables = `
  create table budget (name text primary key, definition text not null) strict;
  create table account (
    budget text not null, principal text not null, start integer not null, end integer,
    used integer not null, granted integer not null, since integer not null, told integer not null,
    primary key (budget, principal, start)
  ) strict;
  create index account_end on account (end) where end is not null;
  create table frozen (budget text not null, principal text not null, primary key (budget, principal)) strict;
  create table change (
    number integer primary key autoincrement, at integer not null, who text,
    budget text not null, principal text not null, what text not null, amount integer
  ) strict;
  create index change_of on change (budget, principal, number);
`

// The mark is "Slub".
const FILE = { name: 'budgets.db', called: 'the journal of budgets', mark: 0x536c7562, format: 1, tables }

/** An account as it stood last. Times are milliseconds since the epoch. */
export interface Entry {
  readonly account: Account
  readonly used: number
  readonly granted: number
  /** When it was first heard of. */
  readonly since: number
  /** The highest threshold that was told of, in percent; 0 for none. */
  readonly told: number
}

export type Act = 'top_up' | 'freeze' | 'unfreeze' | 'reset'

export interface Change {
  readonly at: number
  /** The name of the admin key; undefined where nobody needs one. */
  readonly who: string | undefined
  readonly what: Act
  /** What was granted, or what had been spent before a reset; undefined of others. */
  readonly amount: number | undefined
}

type Of = Pick<Account, 'budget' | 'principal'>

/** Of periods that are over, so many days are kept. */
const DAYS_KEPT = 400
/** Of rolling windows that are shorter only the last one is kept. */
const SHORT_SECONDS = 86_400
/** The most rows of periods that are over, and changes. */
const MOST_PAST = 200_000
const MOST_CHANGES = 20_000

export class Journal {
  readonly #folder: string | undefined
  readonly #log: Logger
  #opened: { db: DatabaseSync; sql: ReturnType<typeof prepare> } | undefined
  #durable: boolean

  /**
   * In `folder`; without one, and where none can be made, in memory. The file is made, and its folder, when there is something
   * to write.
   */
  constructor(folder: string | undefined, log: Logger) {
    this.#folder = folder
    this.#log = log
    this.#durable = folder !== undefined
  }

  /** Whether what is written is there after a restart. */
  get durable(): boolean {
    return this.#durable
  }

  /**
   * The accounts whose period is not over, and who is frozen. Throws an Error that names the folder when there is a file that
   * cannot be read: to go on as if nothing had been spent would be to give it away.
   */
  read(now: number): { entries: Entry[]; frozen: Of[] } {
    if (this.#folder === undefined || !existsSync(join(this.#folder, FILE.name))) return { entries: [], frozen: [] }
    this.#opened ??= prepared(openDatabase(this.#folder, FILE))
    const budgets = new Map<string, Budget>()
    for (const { name, definition } of this.#sql.budgets.all()) {
      budgets.set(name as string, JSON.parse(definition as string) as Budget)
    }
    const known = ({ budget }: Record<string, unknown>) => budgets.has(budget as string)
    const of = (row: Record<string, unknown>) => ({
      budget: budgets.get(row.budget as string)!,
      principal: row.principal as string,
    })
    return {
      entries: this.#sql.current
        .all(now)
        .filter(known)
        .map(row => entry(of(row), row)),
      frozen: this.#sql.frozen.all().filter(known).map(of),
    }
  }

  /** All of them at once, on disk when it returns. Of a period that is over nothing becomes less. Throws when it cannot. */
  write(entries: readonly Entry[], now: number): void {
    this.#together(() => {
      for (const each of entries) this.#put(each, each.account.period.end <= now)
    })
  }

  /** What an operator has changed, with what came of it where that is ours to keep. The same. */
  change({ budget, principal }: Of, change: Change, after: { entry: Entry; frozen: boolean } | undefined): void {
    this.#together(() => {
      if (after !== undefined) {
        this.#put(after.entry, false)
        this.#sql[after.frozen ? 'freeze' : 'unfreeze'].run(budget.name, principal)
      }
      const { at, who = null, what, amount = null } = change
      const { number } = this.#sql.note.get(at, who, budget.name, principal, what, amount) as { number: number }
      this.#sql.forget.run(number - MOST_CHANGES)
    })
  }

  /** The last ones first. */
  changes({ budget, principal }: Of, most: number): Change[] {
    if (this.#opened === undefined) return []
    return this.#sql.changes.all(budget.name, principal, most).map(row => ({
      at: row.at as number,
      who: (row.who as string | null) ?? undefined,
      what: row.what as Act,
      amount: (row.amount as number | null) ?? undefined,
    }))
  }

  /** Periods that are over, the last ones first. */
  past(of: Of, { now, most }: { now: number; most: number }): Entry[] {
    if (this.#opened === undefined) return []
    return this.#sql.past.all(of.budget.name, of.principal, now, most).map(row => entry(of, row))
  }

  /** Forgets what is too old, or too much. */
  compact(now: number): void {
    if (this.#opened === undefined) return
    this.#together(() => {
      this.#sql.old.run(now - DAYS_KEPT * 86_400_000)
      this.#sql.tooMany.run(now, MOST_PAST)
      this.#sql.unused.run()
    })
  }

  close(): void {
    this.#opened?.db.close()
    this.#opened = undefined
  }

  get #file(): { db: DatabaseSync; sql: ReturnType<typeof prepare> } {
    this.#opened ??= this.#open()
    return this.#opened
  }

  get #sql(): ReturnType<typeof prepare> {
    return this.#file.sql
  }

  #open(): { db: DatabaseSync; sql: ReturnType<typeof prepare> } {
    try {
      if (this.#folder !== undefined) return prepared(openDatabase(this.#folder, FILE))
    } catch (error) {
      this.#durable = false
      const reason = asError(error).message
      this.#log.error({ reason }, 'what is spent of budgets is only in memory: it begins anew when the gateway does')
    }
    const db = new DatabaseSync(':memory:')
    db.exec(tables)
    return prepared(db)
  }

  #put({ account: { budget, principal, period }, used, granted, since, told }: Entry, grows: boolean): void {
    this.#sql.define.run(budget.name, JSON.stringify(budget))
    const end = Number.isFinite(period.end) ? period.end : null
    // Of every minute a row would be too many, and nobody asks for last week's minutes.
    const { window } = budget
    if (window.kind === 'rolling' && window.seconds < SHORT_SECONDS) {
      this.#sql.supersede.run(budget.name, principal, period.start)
    }
    this.#sql[grows ? 'raise' : 'put'].run(
      budget.name,
      principal,
      period.start,
      end,
      whole(used),
      whole(granted),
      since,
      told,
    )
  }

  #together(write: () => void): void {
    const { db } = this.#file
    db.exec('begin')
    try {
      write()
      db.exec('commit')
    } catch (error) {
      if (db.isTransaction) db.exec('rollback')
      throw error
    }
  }
}

function prepared(db: DatabaseSync) {
  return { db, sql: prepare(db) }
}

function prepare(db: DatabaseSync) {
  const columns = 'budget, principal, start, end, used, granted, since, told'
  return {
    budgets: db.prepare('select name, definition from budget'),
    define: db.prepare(
      'insert into budget values (?, ?) on conflict do update set definition = excluded.definition where definition <> excluded.definition',
    ),
    put: db.prepare(`
      insert into account (${columns}) values (?, ?, ?, ?, ?, ?, ?, ?)
      on conflict do update set used = excluded.used, granted = excluded.granted, told = excluded.told`),
    raise: db.prepare(`
      insert into account (${columns}) values (?, ?, ?, ?, ?, ?, ?, ?)
      on conflict do update set used = max(used, excluded.used)`),
    current: db.prepare(`select ${columns} from account where end is null or end > ?`),
    past: db.prepare(`
      select ${columns} from account where budget = ? and principal = ? and end <= ? order by start desc limit ?`),
    frozen: db.prepare('select budget, principal from frozen'),
    freeze: db.prepare('insert into frozen values (?, ?) on conflict do nothing'),
    unfreeze: db.prepare('delete from frozen where budget = ? and principal = ?'),
    note: db.prepare(`
      insert into change (at, who, budget, principal, what, amount) values (?, ?, ?, ?, ?, ?) returning number`),
    forget: db.prepare('delete from change where number <= ?'),
    changes: db.prepare(`
      select at, who, what, amount from change where budget = ? and principal = ? order by number desc limit ?`),
    old: db.prepare('delete from account where end < ?'),
    tooMany: db.prepare(`
      delete from account where rowid in (
        select rowid from account where end <= ? order by end desc limit -1 offset ?)`),
    supersede: db.prepare('delete from account where budget = ? and principal = ? and start < ?'),
    unused: db.prepare(`
      delete from budget where name not in (select budget from account union select budget from frozen)`),
  }
}

/** What a provider reports may be no amount; it must not keep others from being written. */
function whole(amount: number): number {
  return Math.min(Number.MAX_SAFE_INTEGER, Math.ceil(amount))
}

function entry(of: Of, row: Record<string, unknown>): Entry {
  const { start, end, used, granted, since, told } = row as Record<string, number | null>
  const period = { start: start!, end: end ?? Number.POSITIVE_INFINITY }
  return { account: { ...of, period }, used: used!, granted: granted!, since: since!, told: told! }
}
