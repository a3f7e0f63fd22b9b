// The ledgers of a thread: its process's own, and those kept in Redis, each connection opened once; knows no plugin.
import type { Logger } from '../observe/log.ts'
import type { Metrics } from '../observe/metrics.ts'
import { LedgerOrElse, type WhenAway } from './away.ts'
import type { Ledger } from './ledger.ts'
import type { LedgerMemory } from './ledger-memory.ts'
import { RedisLink, type RedisServers } from './redis/link.ts'
import { RedisLedger } from './redis/redis-ledger.ts'
import { SharedLedger } from './shared-ledger.ts'

export type { RedisServers, WhenAway }

/** A ledger that somebody must close. */
export interface OpenedLedger {
  readonly ledger: Ledger
  close(): Promise<void>
}

interface Connected {
  readonly link: RedisLink
  readonly ledger: RedisLedger
  users: number
}

/** Milliseconds that what Redis must still be told may take when nobody uses it any more. */
const CLOSE_MS = 2_000

export class Ledgers {
  /** In memory, with all threads of the process. */
  readonly own: Ledger
  readonly #books: LedgerMemory
  readonly #log: Logger
  readonly #metrics: Metrics
  readonly #connected = new Map<string, Connected>()

  /** `now` is in milliseconds since the epoch. */
  constructor({ books, now, log, metrics }: { books: LedgerMemory; now(): number; log: Logger; metrics: Metrics }) {
    this.own = new SharedLedger(books, now)
    this.#books = books
    this.#log = log
    this.#metrics = metrics
  }

  /** The ledger that all gateways keep which name the same servers. */
  redis(servers: RedisServers, when: WhenAway): OpenedLedger {
    const key = JSON.stringify(servers)
    const connected = this.#connected.get(key) ?? this.#connect(servers)
    this.#connected.set(key, connected)
    connected.users++
    const answered = this.#metrics
      .counter('sluice_ledger_away_total', 'Takes that were answered without Redis', ['server', 'answer'])
      .of([serverName(servers), when.answer])
    return {
      ledger: new LedgerOrElse(connected.ledger, this.own, when, () => answered.add()),
      close: async () => {
        connected.users--
        if (connected.users > 0) return
        this.#connected.delete(key)
        await connected.ledger.close(CLOSE_MS)
        connected.link.close()
      },
    }
  }

  #connect(servers: RedisServers): Connected {
    const server = serverName(servers)
    const away = this.#metrics
      .gauge('sluice_ledger_redis_away', 'Workers that cannot reach Redis', ['server'])
      .of([server])
    const lost = this.#metrics
      .counter('sluice_ledger_lost_total', 'Ends of tickets that Redis was never told', ['server'])
      .of([server])
    away.set(0)
    const link = new RedisLink(servers, {
      away: error => {
        away.set(1)
        this.#log.error({ server, reason: reasonOf(error) }, 'Redis is away: limits are answered as their plugins say')
      },
      back: () => {
        away.set(0)
        this.#log.info({ server }, 'Redis is back')
      },
    })
    return { link, ledger: new RedisLedger({ link, books: this.#books, lost: () => lost.add() }), users: 0 }
  }
}

/**
 * Without anything that Redis quotes: what it does not understand it repeats, and that may be the password. The error's other
 * properties may be the whole command.
 */
function reasonOf({ name, message }: Error): string {
  return name === 'ReplyError' ? `Redis says ${/^\w+/.exec(message)?.[0] ?? 'no'}` : message
}

/** As logs and metrics name it. */
function serverName({ at }: RedisServers): string {
  return at.kind === 'single' ? `${at.host}:${at.port}` : at.kind === 'cluster' ? at.name : at.master
}
