// The books of budgets of a process, with all that they need: opened when there are no workers yet; knows no server.
import { ConfigError, type LoadedConfig } from '../config.ts'
import { asError } from '../errors.ts'
import { Ledgers } from '../ledger/ledgers.ts'
import type { Logger } from '../observe/log.ts'
import type { MetricsWriter } from '../observe/metrics-writer.ts'
import { AddressGuard } from '../proxy/address-guard.ts'
import { guardedLookup } from '../proxy/dns/lookup.ts'
import { Resolver } from '../proxy/dns/resolver.ts'
import { warnDenied } from '../proxy/upstream-env.ts'
import type { WorkerPool } from '../workers/worker-pool.ts'
import { Announcer } from './announcer.ts'
import { Books } from './books.ts'
import { ConfiguredBudgets, type ConfiguredBudgetsOptions } from './configured.ts'
import { Journal } from './journal.ts'

interface BooksParts {
  pool: WorkerPool
  metrics: MetricsWriter
  log: Logger
}

/** What was spent of budgets is in the workers' memory before there are any. */
export async function openBooks(
  { config, where }: LoadedConfig,
  { pool, metrics, log, ...of }: Omit<ConfiguredBudgetsOptions, 'log'> & BooksParts,
) {
  const { names, deniedAddresses } = pool.settings
  const lookup = guardedLookup(
    new Resolver({ ...names, now: Date.now, log }),
    new AddressGuard(deniedAddresses),
    (name, address) => warnDenied(log, name, address),
  )
  const announcer = new Announcer({ log, metrics, lookup, now: Date.now, random: Math.random })
  const configured = new ConfiguredBudgets({ ...of, log })
  const books = new Books({
    configured,
    ledgers: new Ledgers({ books: pool.ledger, now: Date.now, log, metrics }),
    journal: new Journal(config.deployment.embedded.path, log),
    now: Date.now,
    log,
    reached: (reached, alerts) => announcer.announce(reached, alerts),
  })
  try {
    await books.restore()
  } catch (error) {
    throw new ConfigError(`${where('deployment.embedded.path')}: ${asError(error).message}`)
  }
  pool.books = books
  books.start()
  return {
    books,
    async close() {
      configured.close()
      await books.close()
      await announcer.close()
    },
  }
}
