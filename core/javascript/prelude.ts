// What a function of a config finds around it, and what calls it there; is sent into its context as text, and so imports nothing.

/** What the process that runs functions does with one of them, from outside of its context. Only texts pass. */
export interface Inside {
  /** Takes the function that is to be called. */
  bind(own: unknown): void
  /** Calls it with arguments (JSON, a list). What it promises may be kept until the tasks it has left behind are done. */
  call(args: string): void
  /** How the call ended (JSON, an Outcome). */
  outcome(): string
}

export type Outcome =
  | { failed: string; lines?: readonly string[] }
  /** `args` are what has become of those arguments that the function has changed; null for the others. */
  | { value?: unknown; args: readonly unknown[]; lines: readonly string[] }

/** Runs in the context before anything else does, and holds on to what the function could replace. */
export function prelude(): Inside {
  // Memory outside of the heap would not be counted.
  const uncounted = /Array$|^ArrayBuffer$|^SharedArrayBuffer$|^DataView$|^WebAssembly$|^Atomics$/
  for (const name of Object.getOwnPropertyNames(globalThis)) {
    if (name !== 'Array' && uncounted.test(name)) Reflect.deleteProperty(globalThis, name)
  }
  const { parse, stringify } = JSON
  const { apply } = Reflect
  const mostLines = 10
  const longest = 1_000
  let own: unknown
  let lines: string[] = []
  let answer = ''
  const say = (...words: unknown[]) => {
    if (lines.length === mostLines) return
    const texts = words.map(word => (typeof word === 'string' ? word : (stringify(word) ?? String(word))))
    lines = [...lines, texts.join(' ').slice(0, longest)]
  }
  // V8's own console goes nowhere.
  Object.assign(globalThis, { console: { log: say, info: say, warn: say, error: say } })
  const fail = (error: unknown) => {
    let failed = 'something that has no text was thrown'
    try {
      failed = String((error as Error | undefined)?.message ?? error).slice(0, longest)
    } catch {}
    answer = stringify({ failed, lines })
  }
  return {
    bind(written) {
      own = written
    },
    call(json) {
      lines = []
      answer = '{"failed":"what it promised is never kept: there is nothing to wait for here"}'
      try {
        const args = parse(json) as unknown[]
        const before = args.map(each => stringify(each))
        const settle = (value: unknown) => {
          try {
            const changed = args.map((each, at) => (stringify(each) === before[at] ? null : each))
            answer = stringify({ value, args: changed, lines })
          } catch (error) {
            fail(error)
          }
        }
        if (typeof own !== 'function') throw new TypeError('it is no function')
        const value: unknown = apply(own as () => unknown, undefined, args)
        if (value instanceof Promise) value.then(settle, fail)
        else settle(value)
      } catch (error) {
        fail(error)
      }
    },
    outcome: () => answer,
  }
}
