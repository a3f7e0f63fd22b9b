// Accounts of budgets in a ledger: how one stands, what an operator changes of it, what a request takes of several; knows no request.
import type { Adjustment, Ledger, Limit, Taken, TakenTogether, Taking } from '../ledger/ledger.ts'
import { type Account, frozenKey, spendKey, worstKey } from './budget.ts'

export interface AccountStanding {
  /** Undefined for an account that is only metered. */
  readonly cap: number | undefined
  readonly spent: number
  /** By requests under way. */
  readonly reserved: number
  /** On top of the cap, in this period. */
  readonly granted: number
  /** What may still be reserved, never negative; undefined without a cap. */
  readonly available: number | undefined
  readonly frozen: boolean
}

/** What a request may cost an account. */
export interface Claim {
  readonly account: Account
  /** What it probably costs: so much is reserved. */
  readonly expected: number
  /** What it costs at most; at least `expected`. */
  readonly worst: number
  /** Takes in any case, as if there were no cap. */
  readonly unbound: boolean
}

export interface Claimed {
  /** Of each claim: its account has room for it and is not frozen. */
  readonly fits: readonly boolean[]
  /** Of each claim, how its account stands after this. */
  readonly left: readonly Left[]
  /** Nothing was reserved without it. */
  readonly reservation: Reservation | undefined
}

export interface Left {
  /** Of the cap; negative as far as it is exceeded. */
  readonly remaining: number
  /** Milliseconds after which the same claim fits at the latest; Infinity for never. */
  readonly retryMs: number
  /** It would fit if nothing were reserved: when others are over it may. */
  readonly busy: boolean
  readonly frozen: boolean
}

/** What was reserved of all accounts. The first of both ends it. Neither rejects. */
export interface Reservation {
  /** What was spent of each account, in the order of the claims. */
  settle(actuals: readonly number[]): void | Promise<void>
  release(): void | Promise<void>
}

/** What takes in any case claims no more than this: of as many as there is place for the sum is exact. */
const MOST_UNBOUND = 2 ** 40
/** No cap at all: sums of it and what is spent are still exact. */
const UNCAPPED = 2 ** 52

const frozenLimit: Limit = { kind: 'balance', limit: 1 }

export async function standing(ledger: Ledger, account: Account): Promise<AccountStanding> {
  const { used, reserved, granted } = await ledger.look(spendKey(account), limitOf(account, 0))
  const { cap } = account.budget
  const available = cap === undefined ? undefined : Math.max(0, cap + granted - used - reserved)
  const frozen = await ledger.look(frozenKey(account), frozenLimit)
  return { cap, spent: used, reserved, granted, available, frozen: frozen.used > 0 }
}

/** Changes what was spent of an account, or grants more of it in its period. */
export async function adjustAccount(ledger: Ledger, account: Account, change: Adjustment): Promise<void> {
  await ledger.adjust(spendKey(account), limitOf(account, 0), change)
  if (account.budget.overshoot > 0) {
    await ledger.adjust(worstKey(account), limitOf(account, account.budget.overshoot), change)
  }
}

/** Nothing is granted to this principal, in any period, until it is thawed; what is under way goes on. */
export async function freeze(
  ledger: Ledger,
  of: Pick<Account, 'budget' | 'principal'>,
  frozen: boolean,
): Promise<void> {
  await ledger.adjust(frozenKey(of), frozenLimit, { what: 'used', to: frozen ? 1 : 0 })
}

/**
 * Reserves all claims as one step, or none. What is spent never exceeds `cap` by more than `overshoot`, as long as no
 * request costs more than its `worst`: with it, the worst of all that are open has room below `cap + overshoot`.
 */
export function claim(ledger: Ledger, claims: readonly Claim[]): Claimed | Promise<Claimed> {
  const takings = claims.map(takingsOf)
  const taken = ledger.takeAll(takings.flat())
  return taken instanceof Promise ? taken.then(all => claimed(takings, all)) : claimed(takings, taken)
}

/** What is spent, whether it is frozen and, where it may overshoot, the worst. */
function takingsOf({ account, unbound, ...claimed }: Claim): Taking[] {
  const { overshoot, cap } = account.budget
  const always = unbound || cap === undefined
  const need = always ? { need: 0 } : {}
  const [expected, worst] = [claimed.expected, claimed.worst].map(amount =>
    always ? Math.min(amount, MOST_UNBOUND) : amount,
  ) as [number, number]
  const spend = { key: spendKey(account), limit: limitOf(account, 0) }
  const freeze = { key: frozenKey(account), limit: frozenLimit, wish: { amount: 0, need: unbound ? 0 : 1 } }
  if (overshoot === 0) return [{ ...spend, wish: { amount: worst, ticket: true, ...need } }, freeze]
  const most = { key: worstKey(account), limit: limitOf(account, overshoot) }
  return [
    { ...spend, wish: { amount: expected, ticket: true, ...need } },
    freeze,
    { ...most, wish: { amount: worst, ticket: true, ...need } },
  ]
}

function claimed(takings: readonly (readonly Taking[])[], { each, ticket }: TakenTogether): Claimed {
  const fits: boolean[] = []
  const left: Left[] = []
  let at = 0
  for (const own of takings) {
    const [spend, frozen, worst] = each.slice(at, at + own.length)
    at += own.length
    const isFrozen = frozen!.used > 0
    const bounds = worst === undefined ? [spend!] : [spend!, worst]
    // What takes in any case was allowed in any case; what takes nothing has room where nothing is left.
    const within = ({ allowed, excess }: Taken, index: number) =>
      allowed && (excess === 0 || own[index * 2]!.wish.amount === 0)
    fits.push(!isFrozen && bounds.every(within))
    left.push({
      remaining: spend!.remaining - spend!.excess,
      busy: !isFrozen && bounds.every((one, index) => fitsAlone(one, own[index * 2]!)),
      retryMs: isFrozen ? Number.POSITIVE_INFINITY : Math.max(...bounds.map(({ retryMs }) => retryMs)),
      frozen: isFrozen,
    })
  }
  if (ticket === undefined) return { fits, left, reservation: undefined }
  const reservation: Reservation = {
    settle: actuals => ticket.settle(takings.flatMap((own, at) => own.map(() => actuals[at]!))),
    release: () => ticket.release(),
  }
  return { fits, left, reservation }
}

function fitsAlone({ remaining, excess, reserved }: Taken, { wish: { amount, need = amount } }: Taking): boolean {
  return need <= remaining - excess + reserved
}

function limitOf({ budget, period }: Account, overshoot: number): Limit {
  const limit = budget.cap === undefined ? UNCAPPED : budget.cap + overshoot
  return Number.isFinite(period.end) ? { kind: 'period', limit, endMs: period.end } : { kind: 'balance', limit }
}
