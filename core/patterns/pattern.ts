// Regular expressions as users of APISIX write them (PCRE, as ngx.re takes them), made JavaScript's; runs none of them.

/** The pattern, its options or its replacement cannot be used here; the message says what is wrong with it. */
export class PatternError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'PatternError'
  }
}

const MAX_LENGTH = 16_384
const PREFIX = /^(\^?)\(\?([a-zA-Z]+)\)/
// j, o: how nginx compiles and caches; u: what JavaScript's strings are anyway.
const WITHOUT_MEANING = 'jou'

/**
 * Compiles a PCRE pattern. `options` are those of ngx.re (`i`, `m`, `s`; `j`, `o`, `u` change nothing). Constructs that
 * JavaScript reads differently are translated; those it cannot do (recursion, possessive and atomic groups, options in
 * the middle) throw PatternError. The result carries the `u` flag: without it V8 reads escapes that it does not know as
 * letters instead of refusing them. It takes what time it takes: see matcher.ts for what does not.
 */
export function compilePattern(source: string, options = ''): RegExp {
  const { pattern, flags } = read(source, options)
  const translated = new Translation(pattern, flags, JAVASCRIPT).run()
  try {
    // Without `m`, by which JavaScript means more than newlines.
    return new RegExp(translated, `u${[...flags].filter(flag => flag !== 'm').join('')}`)
  } catch (error) {
    throw new PatternError((error as Error).message.replace(/^Invalid regular expression: \/.*\/[a-z]*: /s, ''))
  }
}

/** The same in the dialect of RE2, for a pattern that `compilePattern` takes. It may have what RE2 has not: lookaheads. */
export function linearPattern(source: string, options = ''): { pattern: string; flags: ReadonlySet<string> } {
  const { pattern, flags } = read(source, options)
  return { pattern: new Translation(pattern, flags, RE2).run(), flags }
}

function read(source: string, options: string): { pattern: string; flags: Set<string> } {
  if (source.length > MAX_LENGTH) throw new PatternError(`pattern longer than ${MAX_LENGTH} characters`)
  const flags = new Set<string>()
  let pattern = source
  const prefix = PREFIX.exec(source)
  if (prefix !== null) pattern = prefix[1]! + source.slice(prefix[0].length)
  for (const option of options + (prefix?.[2] ?? '')) {
    if ('ims'.includes(option)) flags.add(option)
    else if (!WITHOUT_MEANING.includes(option)) throw new PatternError(`unsupported option "${option}"`)
  }
  return { pattern, flags }
}

const BLANK = '\\t \\xa0\\u1680\\u2000-\\u200a\\u202f\\u205f\\u3000'
const VERTICAL = '\\n-\\r\\x85\\u2028\\u2029'

interface Dialect {
  readonly escapes: Readonly<Record<string, string>>
  readonly escapesInClass: Readonly<Record<string, string>>
  /** At the end, or before a newline there. */
  readonly dollar: string
  /** With `m`, where lines are what newlines separate, and nothing else. */
  readonly lineStart: string
  readonly lineEnd: string
  point(code: string): string
}

const CHARACTERS = { a: '\\x07', e: '\\x1b', E: '' }
const SETS = {
  ...CHARACTERS,
  h: `[${BLANK}]`,
  H: `[^${BLANK}]`,
  v: `[${VERTICAL}]`,
  V: `[^${VERTICAL}]`,
  R: `(?:\\r\\n|[${VERTICAL}])`,
  N: '[^\\n]',
}

const JAVASCRIPT: Dialect = {
  // A bare dollar behind a class of one character misses it where it is two units: /[^a]$/u and '👋' (V8 14.6).
  escapes: { ...SETS, A: '^', z: '(?=$)', Z: '(?=\\n?$)' },
  escapesInClass: { ...CHARACTERS, h: BLANK, v: VERTICAL },
  dollar: '(?=\\n?$)',
  lineStart: '(?<=^|\\n)',
  lineEnd: '(?=\\n|$)',
  point: code => `\\u{${code}}`,
}

// Its own \s is ASCII's.
const SPACE = '\\t-\\r \\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}\\x{feff}'
const NO_SPACE =
  '\\x00-\\x08\\x0e-\\x1f!-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{fefe}\\x{ff00}-\\x{10ffff}'

/** Without lookaheads: a newline at the end is part of the match, which only a pattern can miss that goes on behind the end. */
const RE2: Dialect = {
  escapes: { ...re2Points(SETS), s: `[${SPACE}]`, S: `[^${SPACE}]`, Z: '(?:\\n?\\z)' },
  escapesInClass: { ...re2Points(JAVASCRIPT.escapesInClass), s: SPACE, S: NO_SPACE },
  dollar: '(?:\\n?\\z)',
  lineStart: '^',
  lineEnd: '$',
  point: code => `\\x{${code}}`,
}

function re2Points(table: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(table).map(([name, text]) => [name, text.replace(/\\u([0-9a-f]{4})/g, '\\x{$1}')]),
  )
}

const POSIX: Readonly<Record<string, string>> = {
  alnum: 'a-zA-Z0-9',
  alpha: 'a-zA-Z',
  ascii: '\\x00-\\x7f',
  blank: ' \\t',
  cntrl: '\\x00-\\x1f\\x7f',
  digit: '0-9',
  graph: '!-~',
  lower: 'a-z',
  print: ' -~',
  punct: '!-\\/:-@\\[-`\\{-~',
  space: '\\t-\\r ',
  upper: 'A-Z',
  word: '\\w',
  xdigit: '0-9a-fA-F',
}

class Translation {
  readonly #source: string
  readonly #flags: ReadonlySet<string>
  readonly #dialect: Dialect
  #at = 0

  constructor(source: string, flags: ReadonlySet<string>, dialect: Dialect) {
    this.#source = source
    this.#flags = flags
    this.#dialect = dialect
  }

  run(): string {
    let out = ''
    while (this.#at < this.#source.length) out += this.#atom()
    return out
  }

  #atom(): string {
    switch (this.#source[this.#at]) {
      case '\\':
        return this.#escape(this.#dialect.escapes)
      case '[':
        return this.#class()
      case '(':
        return this.#group()
      case '.':
        this.#at++
        // JavaScript's dot also stops at \r, U+2028 and U+2029.
        return this.#flags.has('s') ? '.' : '[^\\n]'
      case '$':
        this.#at++
        return this.#flags.has('m') ? this.#dialect.lineEnd : this.#dialect.dollar
      case '^':
        this.#at++
        return this.#flags.has('m') ? this.#dialect.lineStart : '^'
      case '{':
        return this.#take(/\{\d+(?:,\d*)?\}/y)?.[0] ?? `\\${this.#next()}`
      case '}':
      case ']':
        return `\\${this.#next()}`
      default:
        return this.#next()
    }
  }

  #group(): string {
    if (this.#take(/\(\?#[^)]*\)/y) !== undefined) return ''
    const back = this.#take(/\(\?P=(\w+)\)/y)
    if (back !== undefined) return `\\k<${back[1]}>`
    const named = this.#take(/\(\?(?:P<(\w+)>|'(\w+)')/y)
    return named === undefined ? this.#next() : `(?<${named[1] ?? named[2]}>`
  }

  #escape(table: Readonly<Record<string, string>>): string {
    this.#at++
    const quoted = this.#take(/Q([\s\S]*?)(?:\\E|$)/y)
    if (quoted !== undefined) return quoted[1]!.replace(/[\^$\\.*+?()[\]{}|/-]/gu, c => hex(c.charCodeAt(0)))
    const code = this.#take(/x\{([0-9a-fA-F]{1,6})\}/y)
    if (code !== undefined) return this.#dialect.point(code[1]!)
    const property = this.#take(/([pP])(?:([A-Z])|\{(\w+)\})/y)
    if (property !== undefined) return `\\${property[1]}{${property[2] ?? property[3]}}`
    const back = this.#take(/g(?:(\d+)|\{(\d+)\})/y)
    if (back !== undefined) return `(?:\\${back[1] ?? back[2]})`
    const named = this.#take(/k(?:\{(\w+)\}|'(\w+)')/y)
    if (named !== undefined) return `\\k<${named[1] ?? named[2]}>`
    const char = this.#next()
    if (char === '') throw new PatternError('\\ at end of pattern')
    if (Object.hasOwn(table, char)) return table[char]!
    // With `u` only these may be escaped; PCRE allows any character that is no letter or digit.
    if (/[a-zA-Z0-9^$\\.*+?()[\]{}|/]/.test(char)) return `\\${char}`
    return char === '-' && table === this.#dialect.escapesInClass ? '\\-' : char
  }

  #class(): string {
    let out = this.#take(/\[\^?/y)![0]
    // A bracket right at the start is a character of the class.
    if (this.#take(/\]/y) !== undefined) out += '\\]'
    let afterSet = false
    while (this.#at < this.#source.length) {
      if (this.#take(/\]/y) !== undefined) return `${out}]`
      const isSet = this.#peek(SET)
      // Beside a set a hyphen is itself: [\w-.]
      if (this.#take(/-/y) !== undefined) out += afterSet || this.#peek(SET) ? '\\-' : '-'
      else out += this.#classAtom()
      afterSet = isSet
    }
    throw new PatternError('unterminated character class')
  }

  #classAtom(): string {
    const posix = this.#take(/\[:(\^?)(\w+):\]/y)
    if (posix !== undefined) {
      const members = POSIX[posix[2]!]
      if (members === undefined || posix[1] !== '') throw new PatternError(`unsupported class ${posix[0]}`)
      return members
    }
    if (this.#source[this.#at] === '\\') return this.#escape(this.#dialect.escapesInClass)
    const char = this.#next()
    return char === '[' ? '\\[' : char
  }

  #next(): string {
    const point = this.#source.codePointAt(this.#at)
    if (point === undefined) return ''
    const char = String.fromCodePoint(point)
    this.#at += char.length
    return char
  }

  #peek(sticky: RegExp): boolean {
    sticky.lastIndex = this.#at
    return sticky.test(this.#source)
  }

  #take(sticky: RegExp): RegExpExecArray | undefined {
    sticky.lastIndex = this.#at
    const found = sticky.exec(this.#source)
    if (found === null) return undefined
    this.#at += found[0].length
    return found
  }
}

const SET = /\\[dwshvDWSHVpP]|\[:/y

function hex(code: number): string {
  return `\\x${code.toString(16).padStart(2, '0')}`
}

/** A replacement as ngx.re.sub takes it: literal text, and numbers of groups. */
export type Replacement = readonly (string | number)[]

/** Reads `$1`, `${1}`, `$0` and `$$`. Throws PatternError for any other dollar. */
export function compileReplacement(template: string): Replacement {
  const parts: (string | number)[] = []
  let from = 0
  for (const dollar of template.matchAll(/\$(?:(\d+)|\{(\d+)\}|(\$))?/g)) {
    if (dollar.index > from) parts.push(template.slice(from, dollar.index))
    from = dollar.index + dollar[0].length
    const group = dollar[1] ?? dollar[2]
    if (group !== undefined) parts.push(Number(group))
    else if (dollar[3] !== undefined) parts.push('$')
    else throw new PatternError(`a dollar that is neither a group nor $$ in "${template}"`)
  }
  if (from < template.length) parts.push(template.slice(from))
  return parts
}

/** The text of a replacement; a group that took no part is empty. */
export function expand(replacement: Replacement, groups: ArrayLike<string | undefined>): string {
  let text = ''
  for (const part of replacement) text += typeof part === 'string' ? part : (groups[part] ?? '')
  return text
}
