// A YAML file as plain values, with the line of every key and the environment filled in; knows no key by name.
import { readFileSync, statSync } from 'node:fs'
import { getSystemErrorMessage } from 'node:util'
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml'

const maxBytes = 1 << 20
const maxAliases = 100

/** Where the parser speaks to programmers. */
const ownWords: Partial<Record<string, string>> = {
  MULTIPLE_DOCS: 'a second document begins here, but one is wanted',
  RESOURCE_EXHAUSTION: 'is nested too deeply',
}

/** Something is wrong with the configuration. The message is one line: `file:line: dotted.key: what is wrong`. */
export class ConfigError extends Error {
  constructor(message: string) {
    super(message.replace(/\s+/g, ' ').slice(0, 500)) // names and the parser's messages may hold anything
    this.name = 'ConfigError'
  }
}

/** A value that held `${{VAR}}`: where text is wanted it is `text`, elsewhere `value` (facts core 5.3). */
export class Substituted {
  readonly text: string
  /** The text as a boolean or a number where it reads as one. */
  readonly value: string | number | boolean
  /** The variables asked for; this much of it may be shown in errors. */
  readonly names: string

  constructor(text: string, names: string) {
    this.text = text
    this.names = names
    const number = Number(text)
    if (text === 'true' || text === 'false') this.value = text === 'true'
    else this.value = text.trim() !== '' && Number.isFinite(number) ? number : text
  }
}

export type Environment = Readonly<Record<string, string | undefined>>

/** A parsed file. Objects have no prototype, so that a key may have any name. */
export interface Source {
  value: unknown
  /** `file:line: path` of a key, of the nearest key above it that is written, or of the file. */
  where(path: string): string
}

/** The path of a key in the group at `path`. A name that could be taken for a path is quoted. */
export function below(path: string, name: string): string {
  const plain = /^[\w-]+$/.test(name) ? name : JSON.stringify(name)
  return path === '' ? plain : `${path}.${plain}`
}

/** Reads a file of at most 1 MiB. Throws ConfigError for a file that cannot be read, and for YAML that is none. */
export function readSource(file: string, env: Environment): Source {
  return parseSource(file, readText(file), { env, maxAliases })
}

export interface SourceOptions {
  /** Undefined: `${{VAR}}` is text like any other. */
  env?: Environment | undefined
  maxAliases: number
}

/** Reads YAML, and JSON with it, which stands in `file`. Throws ConfigError. */
export function parseSource(file: string, text: string, { env, maxAliases }: SourceOptions): Source {
  const counter = new LineCounter()
  const lineOf = (node: Node | null | undefined) => counter.linePos(node?.range?.[0] ?? 0).line
  const document = parseDocument(text, { lineCounter: counter, prettyErrors: false, uniqueKeys: false })
  const wrong = document.errors[0] ?? document.warnings[0]
  if (wrong !== undefined) {
    const message = ownWords[wrong.code] ?? wrong.message
    throw new ConfigError(`${file}:${counter.linePos(wrong.pos[0]).line}: ${message}`)
  }

  const lines = new Map<string, number>()
  const where = (path: string) => {
    let above = path
    while (above !== '') {
      const line = lines.get(above)
      if (line !== undefined) return `${file}:${line}: ${path}`
      above = above.slice(0, Math.max(above.lastIndexOf('.'), above.lastIndexOf('['), 0))
    }
    return path === '' ? file : `${file}: ${path}`
  }
  const fail = (path: string, line: number, message: string): never => {
    throw new ConfigError(`${file}:${line}: ${path === '' ? '' : `${path}: `}${message}`)
  }

  let aliases = 0
  const plain = (node: Node | null | undefined, path: string): unknown => {
    const line = lineOf(node)
    if (isAlias(node)) {
      const target = node.resolve(document)
      if (target === undefined) return fail(path, line, `no anchor &${node.source} stands above *${node.source}`)
      // A bound on aliases is a bound on what a file can unfold to, and ends an anchor that contains itself.
      if (++aliases > maxAliases) return fail(path, line, `more than ${maxAliases} aliases`)
      return plain(target, path)
    }
    if (isSeq<Node>(node)) {
      return node.items.map((item, index) => {
        lines.set(`${path}[${index}]`, lineOf(item))
        return plain(item, `${path}[${index}]`)
      })
    }
    if (isMap<Node, Node>(node)) {
      const value: Record<string, unknown> = Object.create(null)
      for (const pair of node.items) {
        const at = lineOf(pair.key)
        if (!isScalar(pair.key)) return fail(path, at, 'a key must be plain text')
        const key = String(pair.key.value)
        const inside = below(path, key)
        if (key in value) fail(inside, at, `stands here twice (first on line ${lines.get(inside)})`)
        lines.set(inside, at)
        value[key] = plain(pair.value, inside)
      }
      return value
    }
    const scalar = isScalar(node) ? node.value : null
    if (env === undefined || typeof scalar !== 'string' || !scalar.includes('${{')) return scalar
    return substitute(scalar, env, message => fail(path, line, message))
  }
  return { value: plain(document.contents, ''), where }
}

function readText(file: string): string {
  let bytes: Buffer
  try {
    if (statSync(file).size > maxBytes) throw new ConfigError(`${file}: is larger than 1 MiB`)
    bytes = readFileSync(file)
  } catch (error) {
    if (error instanceof ConfigError) throw error
    const { errno } = error as NodeJS.ErrnoException
    throw new ConfigError(
      `${file}: cannot be read: ${errno === undefined ? String(error) : getSystemErrorMessage(errno)}`,
    )
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new ConfigError(`${file}: is not UTF-8 text`)
  }
}

/** Fills in `${{VAR}}` and `${{VAR:=default}}`; a variable that is set but empty counts as set. */
export function substitute(text: string, env: Environment, fail: (message: string) => never): Substituted {
  const names: string[] = []
  const [head = '', ...rest] = text.split('${{')
  const filled = rest.map(part => {
    const end = part.indexOf('}}')
    if (end < 0) return fail('an environment variable is not closed by }}')
    const [name = '', ...fallback] = part.slice(0, end).split(':=')
    const variable = name.trim()
    names.push(variable)
    const value = Object.hasOwn(env, variable) ? env[variable] : undefined
    if (value === undefined && fallback.length === 0) fail(`can't find environment variable ${variable}`)
    return (value ?? fallback.join(':=').trim()) + part.slice(end + 2)
  })
  return new Substituted(head + filled.join(''), names.join(', '))
}
