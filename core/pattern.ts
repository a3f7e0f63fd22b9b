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
 * letters instead of refusing them.
 */
export function compilePattern(source: string, options = ''): RegExp {
  if (source.length > MAX_LENGTH) throw new PatternError(`pattern longer than ${MAX_LENGTH} characters`)
  const flags = new Set('u')
  let pattern = source
  const prefix = PREFIX.exec(source)
  if (prefix !== null) pattern = prefix[1]! + source.slice(prefix[0].length)
  for (const option of options + (prefix?.[2] ?? '')) {
    if ('ims'.includes(option)) flags.add(option)
    else if (!WITHOUT_MEANING.includes(option)) throw new PatternError(`unsupported option "${option}"`)
  }
  const translated = new Translation(pattern, flags).run()
  try {
    return new RegExp(translated, [...flags].join(''))
  } catch (error) {
    throw new PatternError((error as Error).message.replace(/^Invalid regular expression: \/.*\/[a-z]*: /s, ''))
  }
}

const BLANK = '\\t \\xa0\\u1680\\u2000-\\u200a\\u202f\\u205f\\u3000'
const VERTICAL = '\\n-\\r\\x85\\u2028\\u2029'
const END = '(?![\\s\\S])'

const ESCAPES: Readonly<Record<string, string>> = {
  A: '(?<![\\s\\S])',
  z: END,
  Z: `(?=\\n?${END})`,
  h: `[${BLANK}]`,
  H: `[^${BLANK}]`,
  v: `[${VERTICAL}]`,
  V: `[^${VERTICAL}]`,
  R: `(?:\\r\\n|[${VERTICAL}])`,
  N: '[^\\n]',
  a: '\\x07',
  e: '\\x1b',
  E: '',
}
const ESCAPES_IN_CLASS: Readonly<Record<string, string>> = { h: BLANK, v: VERTICAL, a: '\\x07', e: '\\x1b', E: '' }

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
  #at = 0

  constructor(source: string, flags: ReadonlySet<string>) {
    this.#source = source
    this.#flags = flags
  }

  run(): string {
    let out = ''
    while (this.#at < this.#source.length) out += this.#atom()
    return out
  }

  #atom(): string {
    switch (this.#source[this.#at]) {
      case '\\':
        return this.#escape(ESCAPES)
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
        // PCRE's dollar also stands before a newline that ends the text.
        return this.#flags.has('m') ? '$' : '(?=\\n?$)'
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
    if (code !== undefined) return `\\u{${code[1]}}`
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
    return char === '-' && table === ESCAPES_IN_CLASS ? '\\-' : char
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
    if (this.#source[this.#at] === '\\') return this.#escape(ESCAPES_IN_CLASS)
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
