// Text of a config that should be a JavaScript function: whether it is one, and which variables it names; runs nothing.
import { Script } from 'node:vm'

/** Longer texts are refused: a function of a config is a few lines. */
const MAX_SOURCE = 64 * 1024

const LUA = 'is Lua, which is not run here'
const HOW = '(docs/plugins.md, JavaScript in configs)'

/**
 * Why `source` cannot be run, to be read behind its name; undefined when it is the text of a function, such as `example`
 * shows. It is compiled as it would be, and not run.
 */
export function sourceProblem(source: string, example: string): string | undefined {
  const instead = `write JavaScript: ${example} ${HOW}`
  if (source.length > MAX_SOURCE) return `is longer than ${MAX_SOURCE} characters`
  try {
    new Script(wrapped(source))
  } catch (error) {
    return isLua(source) ? `${LUA}: ${instead}` : `is no JavaScript (${(error as Error).message}): ${instead}`
  }
  return /^\s*(async\b\s*)?(function\b|\(|[\w$]+\s*=>)/.test(source) && /=>|function/.test(source)
    ? undefined
    : `is no function: ${instead}`
}

/** The text as an expression. */
export function wrapped(source: string): string {
  return `(${source}\n)`
}

/** What could be names of variables: only those are looked up, for no others can be asked for from where it runs. */
export function namesIn(source: string): string[] {
  return [...new Set(source.match(/[A-Za-z_]\w*/g))]
}

/** Words that JavaScript has not, or not there. */
function isLua(source: string): boolean {
  return /\bend\s*\)?\s*$|\blocal\s+[\w_]+|\bthen\b|~=|\bngx\.|\brequire\s*\(?["']|^\s*return\s+function|--\[\[/.test(
    source,
  )
}
