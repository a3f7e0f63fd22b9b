// Arithmetic on what a provider reports (`cost_expr`, facts ai-plugins 8.5): Lua's operators and a few functions, nothing that runs code.

/** What is wrong with an expression, and where. */
export class CostExprError extends Error {}

type Value = number | boolean | undefined
type Node = (get: (name: string) => number) => Value

const MAX_LENGTH = 4_096
const MAX_DEPTH = 64

const TOKEN =
  /\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([A-Za-z_][\w]*(?:\.[A-Za-z_]\w*)?)|(==|~=|<=|>=|[-+*/%^()<>,])|(\S))/gy

/** Lua's, by both of their names; nobody's variables can take their place. */
const functions: ReadonlyMap<string, (...numbers: number[]) => number> = new Map(
  (['abs', 'ceil', 'floor', 'max', 'min'] as const).flatMap(name => [
    [name, Math[name]],
    [`math.${name}`, Math[name]],
  ]),
)
const constants: ReadonlyMap<string, Value> = new Map<string, Value>([
  ['true', true],
  ['false', false],
  ['nil', undefined],
  ['math.huge', Number.POSITIVE_INFINITY],
  ['math.pi', Math.PI],
])
const words = new Set(['and', 'or', 'not'])

/** From loose to tight; `^` and the unary ones are read by themselves. */
const levels: readonly ReadonlyMap<string, (a: number, b: number) => Value>[] = [
  new Map([
    ['<', (a, b) => a < b],
    ['>', (a, b) => a > b],
    ['<=', (a, b) => a <= b],
    ['>=', (a, b) => a >= b],
    ['==', (a, b) => a === b],
    ['~=', (a, b) => a !== b],
  ]),
  new Map([
    ['+', (a, b) => a + b],
    ['-', (a, b) => a - b],
  ]),
  new Map([
    ['*', (a, b) => a * b],
    ['/', (a, b) => a / b],
    // The sign of the divisor, as in Lua.
    ['%', (a, b) => a - Math.floor(a / b) * b],
  ]),
]

/**
 * Reads an expression once. The function it gives takes variables by name and returns whole tokens: negative is 0, halves are
 * rounded up. It throws CostExprError when what comes out is no finite number.
 */
export function compileCostExpr(text: string): (get: (name: string) => number) => number {
  const node = new Reading(text).whole()
  return get => {
    const cost = node(get)
    if (typeof cost !== 'number' || !Number.isFinite(cost)) throw new CostExprError('the result is no finite number')
    return Math.max(0, Math.floor(cost + 0.5))
  }
}

class Reading {
  readonly #tokens: string[] = []
  #at = 0
  #depth = 0

  constructor(text: string) {
    if (text.length > MAX_LENGTH) throw new CostExprError(`longer than ${MAX_LENGTH} characters`)
    for (const [, number, name, sign, other] of text.trimEnd().matchAll(TOKEN)) {
      if (other !== undefined) throw new CostExprError(`unexpected symbol near '${other}'`)
      this.#tokens.push(number ?? name ?? sign!)
    }
  }

  whole(): Node {
    const node = this.#or()
    if (this.#next !== undefined) throw this.#unexpected()
    return node
  }

  get #next(): string | undefined {
    return this.#tokens[this.#at]
  }

  #skip(token: string): boolean {
    if (this.#next !== token) return false
    this.#at++
    return true
  }

  #unexpected(): CostExprError {
    return new CostExprError(this.#next === undefined ? 'unexpected end' : `unexpected '${this.#next}'`)
  }

  #or(): Node {
    if (++this.#depth > MAX_DEPTH) throw new CostExprError('nested too deeply')
    let left = this.#and()
    while (this.#skip('or')) {
      const [before, right] = [left, this.#and()]
      left = get => {
        const value = before(get)
        return isTrue(value) ? value : right(get)
      }
    }
    this.#depth--
    return left
  }

  #and(): Node {
    let left = this.#level(0)
    while (this.#skip('and')) {
      const [before, right] = [left, this.#level(0)]
      left = get => {
        const value = before(get)
        return isTrue(value) ? right(get) : value
      }
    }
    return left
  }

  #level(depth: number): Node {
    const operators = levels[depth]
    if (operators === undefined) return this.#unary()
    let left = this.#level(depth + 1)
    for (let apply = operators.get(this.#next ?? ''); apply !== undefined; apply = operators.get(this.#next ?? '')) {
      this.#at++
      const [before, right, use] = [left, this.#level(depth + 1), apply]
      left = get => use(asNumber(before(get)), asNumber(right(get)))
    }
    return left
  }

  #unary(): Node {
    if (++this.#depth > MAX_DEPTH) throw new CostExprError('nested too deeply')
    const node = this.#signed()
    this.#depth--
    return node
  }

  #signed(): Node {
    if (this.#skip('-')) {
      const of = this.#unary()
      return get => -asNumber(of(get))
    }
    if (this.#skip('not')) {
      const of = this.#unary()
      return get => !isTrue(of(get))
    }
    const base = this.#simple()
    if (!this.#skip('^')) return base
    // It binds to the right, and tighter than the sign before it.
    const exponent = this.#unary()
    return get => asNumber(base(get)) ** asNumber(exponent(get))
  }

  #simple(): Node {
    if (this.#skip('(')) {
      const inner = this.#or()
      if (!this.#skip(')')) throw this.#unexpected()
      return inner
    }
    const token = this.#next ?? ''
    const call = functions.get(token)
    if (/^[\d.]/.test(token)) {
      this.#at++
      const number = Number(token)
      return () => number
    }
    if (!/^[A-Za-z_]/.test(token) || words.has(token)) throw this.#unexpected()
    this.#at++
    if (call !== undefined) return this.#call(call)
    if (constants.has(token)) return () => constants.get(token)
    if (token.includes('.')) throw new CostExprError(`there is no '${token}'`)
    return get => get(token)
  }

  #call(apply: (...numbers: number[]) => number): Node {
    const given: Node[] = []
    if (!this.#skip('(')) throw this.#unexpected()
    do given.push(this.#or())
    while (this.#skip(','))
    if (!this.#skip(')')) throw this.#unexpected()
    return get => apply(...given.map(each => asNumber(each(get))))
  }
}

function isTrue(value: Value): boolean {
  return value !== undefined && value !== false
}

function asNumber(value: Value): number {
  if (typeof value !== 'number')
    throw new CostExprError(`attempt to perform arithmetic on a ${value === undefined ? 'nil' : 'boolean'}`)
  return value
}
