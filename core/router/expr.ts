// EXPR, the conditions of APISIX (lua-resty-expr, facts core 2.6), compiled to closures; knows no request, only variables by name.
import { compileMatcher } from '../patterns/matcher.ts'
import { PatternError } from '../patterns/pattern.ts'
import { addressSet } from './addresses.ts'

/** What a variable is now; undefined when it has no value. */
export type Lookup = (name: string) => unknown

export interface Expr {
  test(get: Lookup): boolean
  /** Variables it asks for. */
  readonly names: ReadonlySet<string>
}

/** Not an expression. The message is the one APISIX's users see behind `failed to validate the 'vars' expression: `. */
export class ExprError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'ExprError'
  }
}

type Test = Expr['test']
type Operator = (operand: unknown) => (value: unknown) => boolean

// JSON nests as deep as its sender likes; the stack does not.
const MAX_DEPTH = 64

/** Compiles an expression. Throws ExprError. Runs no pattern. */
export function compileExpr(expr: unknown): Expr {
  const names = new Set<string>()
  if (isEmpty(expr)) return { test: () => true, names }
  if (typeof expr !== 'object' || expr === null) throw new ExprError('missing argument rule')
  if (!Array.isArray(expr)) throw new ExprError('invalid expression')
  if (typeof expr[0] === 'string' && logical(expr[0]) === undefined)
    throw new ExprError('rule should be wrapped inside brackets')
  return { test: compile(expr, names, 0), names }
}

/** What is wrong with an expression, or nothing. */
export function checkExpr(expr: unknown): string | undefined {
  try {
    compileExpr(expr)
    return undefined
  } catch (error) {
    if (error instanceof ExprError) return error.message
    throw error
  }
}

function isEmpty(expr: unknown): boolean {
  return typeof expr === 'object' && expr !== null && Object.keys(expr).length === 0
}

function compile(expr: unknown, names: Set<string>, depth: number): Test {
  if (!Array.isArray(expr)) throw new ExprError('invalid expression')
  if (depth > MAX_DEPTH) throw new ExprError(`invalid expression: nested deeper than ${MAX_DEPTH}`)
  const [head, ...operands] = expr as unknown[]
  if (head === undefined) throw new ExprError('rule too short')
  if (Array.isArray(head)) return all(expr.map(operand => compile(operand, names, depth + 1)))
  if (typeof head !== 'string') throw new ExprError('invalid expression')
  const combine = logical(head)
  if (combine === undefined) return compileRule(head, operands, names)
  if (operands.length < 2) throw new ExprError('rule too short')
  return combine(operands.map(operand => compile(operand, names, depth + 1)))
}

const all =
  (tests: readonly Test[]): Test =>
  get =>
    tests.every(test => test(get))
const any =
  (tests: readonly Test[]): Test =>
  get =>
    tests.some(test => test(get))
const not =
  (test: Test): Test =>
  get =>
    !test(get)

const LOGICAL: Readonly<Record<string, (tests: readonly Test[]) => Test>> = {
  and: all,
  or: any,
  '!and': tests => not(all(tests)),
  '!or': tests => not(any(tests)),
}

function logical(head: string): ((tests: readonly Test[]) => Test) | undefined {
  const name = head.toLowerCase()
  return Object.hasOwn(LOGICAL, name) ? LOGICAL[name] : undefined
}

function compileRule(name: string, rest: readonly unknown[], names: Set<string>): Test {
  if (rest.length === 0) throw new ExprError('rule too short')
  names.add(name)
  const negated = rest[0] === '!'
  if (negated && rest.length !== 3) throw new ExprError("bad 'not' expression")
  const [op, operand = null] = negated ? rest.slice(1) : rest
  if (rest.length > 3 || (!negated && rest.length > 2)) throw new ExprError('invalid expression')
  let operator = operatorOf(op)
  let right = operand
  if (operator === undefined) {
    if (rest.length !== 1) throw new ExprError(`invalid operator '${typeof op === 'string' ? op : JSON.stringify(op)}'`)
    // Two elements: the value was tried as an operator, in lower case, and stays so.
    operator = equals
    right = typeof op === 'string' ? op.toLowerCase() : op
  }
  const holds = operator(right)
  return negated ? get => !holds(get(name)) : get => holds(get(name))
}

function operatorOf(op: unknown): Operator | undefined {
  const name = typeof op === 'string' ? op.toLowerCase() : ''
  return Object.hasOwn(OPERATORS, name) ? OPERATORS[name] : undefined
}

const equals: Operator = right => {
  if (right === null) return value => value === undefined || value === null
  if (typeof right === 'number') return value => toNumber(value) === right
  if (typeof right === 'object') throw new ExprError('invalid expression')
  return value => same(value, right)
}

const OPERATORS: Readonly<Record<string, Operator>> = {
  '==': equals,
  '~=': right => {
    const holds = equals(right)
    return value => !holds(value)
  },
  '>': compares((left, right) => left > right),
  '>=': compares((left, right) => left >= right),
  '<': compares((left, right) => left < right),
  '<=': compares((left, right) => left <= right),
  '~~': matches(''),
  '~*': matches('i'),
  in: right => {
    if (!Array.isArray(right)) throw new ExprError('invalid expression')
    return value => right.some(member => same(value, member))
  },
  has: right => value => Array.isArray(value) && value.includes(right),
  ipmatch: right => {
    const members: readonly unknown[] = Array.isArray(right) ? right : [right]
    if (members.length === 0 || !members.every(member => typeof member === 'string'))
      throw new ExprError('invalid ip address')
    try {
      const addresses = addressSet(members)
      return value => typeof value === 'string' && addresses.has(value)
    } catch {
      throw new ExprError('invalid ip address')
    }
  },
}

function compares(holds: (left: number, right: number) => boolean): Operator {
  return operand => {
    const right = toNumber(operand)
    return value => {
      const left = toNumber(value)
      return left !== undefined && right !== undefined && holds(left, right)
    }
  }
}

function matches(options: string): Operator {
  return operand => {
    if (typeof operand !== 'string' && typeof operand !== 'number') throw new ExprError('invalid expression')
    try {
      const pattern = compileMatcher(String(operand), options)
      return value => (typeof value === 'string' || typeof value === 'number') && pattern.test(String(value))
    } catch (error) {
      if (error instanceof PatternError) throw new ExprError(`invalid regex "${operand}": ${error.message}`)
      throw error
    }
  }
}

/** Strict, but a number of ours equals its text: where APISIX has texts only, some variables here are numbers. */
function same(value: unknown, right: unknown): boolean {
  return value === right || (typeof value === 'number' && typeof right === 'string' && String(value) === right)
}

/** A number as Lua's tonumber reads it; an empty text is none. */
function toNumber(value: unknown): number | undefined {
  if (typeof value === 'number') return value
  if (typeof value !== 'string' || !/^\s*(?:[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|0x[0-9a-f]+)\s*$/i.test(value))
    return undefined
  return Number(value)
}
