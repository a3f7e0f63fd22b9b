// Budgets at the admin API: how accounts stand, who has changed them, and the changes themselves; counts nothing.
import Router from '@koa/router'
import type { Context } from 'koa'
import type { Books } from '../core/budgets/books.ts'
import { amountOf, carryOut } from '../core/budgets/desk.ts'
import type { Kept } from '../core/budgets/directory.ts'
import type { Act } from '../core/budgets/journal.ts'
import { budgetView, shown, timesOf } from '../core/budgets/view.ts'
import { asError } from '../core/errors.ts'
import { LedgerError } from '../core/ledger/ledger.ts'
import type { Logger } from '../core/observe/log.ts'
import { isObject } from '../core/schema.ts'
import type { Caller } from './access.ts'
import { type Refused, refuse, send } from './answer.ts'
import { parameter } from './listing.ts'
import { readJson } from './request-body.ts'

export interface BudgetsDeps {
  /** Undefined where nobody keeps them. */
  books?: Books | undefined
  log: Logger
}

const acts: readonly Act[] = ['top_up', 'freeze', 'unfreeze', 'reset']
/** Accounts of a page, and at most. */
const PAGE_SIZE = 100
const MOST_AT_ONCE = 500
/** Changes of an account, and its periods that are over. */
const LATEST = 100

/** Paths that are not here fall through. */
export function budgets({ books, log }: BudgetsDeps, prefix: string): Router {
  const router = new Router({ prefix: `${prefix}/budgets` })
  if (books === undefined) return router

  router.get('/', ctx => {
    const list = books.accounts.budgets().map(({ budget, accounts }) => ({ ...budgetView(budget), accounts }))
    send(ctx, 200, { total: list.length, list: list.sort((one, other) => (one.name < other.name ? -1 : 1)) })
  })
  router.get('/:name', async ctx => {
    const { name = '' } = ctx.params
    const budget = books.accounts.budget(name)
    if (budget === undefined) throw unknown(name)
    const all = [...books.accounts.all(name)].sort((one, other) =>
      one.account.principal < other.account.principal ? -1 : 1,
    )
    const size = count(ctx, 'page_size', PAGE_SIZE, MOST_AT_ONCE)
    const from = (count(ctx, 'page', 1, Number.MAX_SAFE_INTEGER) - 1) * size
    const list = await orAway(Promise.all(all.slice(from, from + size).map(kept => books.view(kept))))
    send(ctx, 200, { ...budgetView(budget), total: all.length, list })
  })
  router.get('/:name/:principal', async ctx => send(ctx, 200, await everythingOf(books, found(books, ctx))))
  router.post('/:name/:principal/:act', async ctx => {
    const kept = found(books, ctx)
    const what = acts.find(each => each === ctx.params.act)
    if (what === undefined) throw refuse(404, `what can be done is ${acts.join(', ')}`)
    const { name: who } = ctx.state.caller as Caller
    const order = { what, who, ...(what === 'top_up' && { amount: await amountIn(ctx, kept) }) }
    await carryOut(books, kept, order).catch((error: unknown) => {
      if (error instanceof LedgerError) throw away(error)
      if (error instanceof RangeError) throw refuse(400, 'invalid amount: more than can be counted')
      log.error({ err: asError(error) }, 'a change of a budget cannot be written')
      throw refuse(503, 'the change cannot be written: nothing has changed')
    })
    const { budget, principal } = kept.account
    log.info({ budget: budget.name, principal, ...order }, 'a budget was changed')
    send(ctx, 200, await everythingOf(books, found(books, ctx)))
  })
  router.all(['/', '/:name', '/:name/:principal', '/:name/:principal/:act'], ctx => {
    throw refuse(405, `${ctx.method} is not supported here`)
  })
  return router
}

function found(books: Books, { params }: { params: Record<string, string> }): Kept {
  const { name = '', principal = '' } = params
  const kept = books.accounts.find(name, principal)
  if (kept !== undefined) return kept
  const kind = books.accounts.kindOf(name)
  throw kind === undefined ? unknown(name) : refuse(404, `the principals of budget ${name} are written ${kind}:...`)
}

/** How an account stands, and what has become of it before. */
async function everythingOf(books: Books, kept: Kept): Promise<object> {
  const { account, servers } = kept
  const { unit } = account.budget
  const { journal, now } = books
  const past = journal.past(account, { now: now(), most: LATEST })
  return {
    ...(await orAway(books.view(kept))),
    durable: servers !== undefined || journal.durable,
    past: past.map(({ account: { period }, used, granted }) => ({
      ...timesOf(period),
      spent: shown(unit, used),
      topped_up: shown(unit, granted),
    })),
    changes: journal.changes(account, LATEST).map(({ at, who, what, amount }) => ({
      at: new Date(at).toISOString(),
      who: who ?? null,
      what,
      ...(amount !== undefined && { amount: shown(unit, amount) }),
    })),
  }
}

async function amountIn({ req }: Context, { account }: Kept): Promise<number> {
  const { unit } = account.budget
  const body = await readJson(req)
  const amount = isObject(body) ? amountOf(unit, body.amount) : undefined
  if (amount !== undefined) return amount
  const wanted = unit === 'tokens' ? 'a whole number' : `a decimal of ${unit.currency} with at most nine places`
  throw refuse(400, `invalid amount: ${wanted} above 0 is wanted, as {"amount": ...}`)
}

function count({ query }: Context, name: string, without: number, most: number): number {
  const given = parameter(query, name)
  if (given === undefined) return without
  const number = /^\d{1,15}$/.test(given) ? Number(given) : 0
  if (number < 1 || number > most) throw refuse(400, `invalid argument ${name}: should be between 1 and ${most}`)
  return number
}

function unknown(name: string): Refused {
  return refuse(404, `budget ${name} is not known: it is not configured, and no request has used it`)
}

function orAway<T>(looking: Promise<T>): Promise<T> {
  return looking.catch((error: unknown) => {
    throw error instanceof LedgerError ? away(error) : error
  })
}

function away({ message }: LedgerError): Refused {
  return refuse(503, `the budget cannot be looked at: ${message}`)
}
