// Plugin instances -> one array per phase. Everything that depends on configuration is decided here, nothing per request.
import { type Context, slot } from './context.ts'
import { GatewayError } from './errors.ts'
import { type StepName, stepCode } from './explain/trail.ts'
import { ConfigFunction, type FunctionPhase } from './javascript/config-function.ts'
import type { Exchange } from './llm/exchange.ts'
import type { Awaitable, Env, Hooks, Owner, Plugin, TurnHook } from './plugin.ts'
import { type Filter, type Reply, reply } from './reply.ts'
import { configProblem, fillPlugin } from './resource/plugin-configs.ts'
import { compileExpr } from './router/expr.ts'
import { variable } from './router/vars.ts'
import { copied } from './schema/json.ts'
import { referencesIn } from './secrets/reference.ts'
import { veiled } from './secrets/veiled.ts'
import { markOf } from './workers/breadcrumb.ts'

/** What `_meta` may say about one use of a plugin (facts core 1.2). */
export interface Meta {
  disable?: boolean
  error_response?: string | object
  priority?: number
  filter?: unknown[]
  /** The text of a function that runs before the plugin in every phase. */
  pre_function?: string
}

/** What an instance is made with. */
export interface InstanceEnv extends Omit<Env, 'use' | 'metadataOf'> {
  /** Plugins that another may be made of, with their metadata; undefined for one that there is not. */
  others(name: string): { plugin: Plugin; metadata: unknown } | undefined
  /** Names of the plugins that this one is used by, from outside to inside. */
  readonly usedBy?: readonly string[]
}

/** A plugin with one config on one owner. Its hooks are made on first use and closed once, when the config is gone. */
export class Instance {
  readonly plugin: Plugin
  readonly priority: number
  readonly #config: unknown
  readonly #meta: Meta
  readonly #env: InstanceEnv
  #hooks: Hooks | undefined
  #lasting = false
  /** Of plugins that it is made of. */
  readonly #parts: Instance[] = []
  /** Plugins whose metadata it was made with besides its own, and what that was. */
  readonly madeOf = new Map<string, unknown>()

  /** `config` has been validated and filled with defaults; `meta` is its `_meta`. */
  constructor(plugin: Plugin, config: unknown, meta: Meta, env: InstanceEnv) {
    this.plugin = plugin
    this.priority = meta.priority ?? plugin.priority
    this.#config = config
    this.#meta = meta
    this.#env = env
  }

  /** The resource its config is written on. */
  get owner(): Owner {
    return this.#env.owner
  }

  /** A plugin that cannot be set up refuses every request: it may have been there to guard them. */
  get hooks(): Hooks {
    if (this.#hooks !== undefined) return this.#hooks
    try {
      this.#hooks = this.#setUp()
    } catch (error) {
      const { log, owner } = this.#env
      log.error({ plugin: this.plugin.name, owner, err: error }, 'plugin could not be set up; its requests are refused')
      const refusal = new GatewayError(503, 'plugin_unavailable', `plugin ${this.plugin.name} is not available`)
      const refuse = () => Promise.reject(refusal)
      this.#hooks = { rewrite: refuse, access: refuse }
    }
    return this.#hooks
  }

  #setUp(): Hooks {
    mustBeKnown(this.#config)
    const use = (name: string, config: Record<string, unknown>) => this.#use(name, config)
    const metadataOf = (name: string) => this.#other(name)?.metadata
    const metadata = this.#env.metadata && veiled(this.plugin, copied(this.#env.metadata))
    // Functions of configs get theirs as JSON, and what it says.
    const config = veiled(this.plugin, copied(this.#config))
    const hooks = this.plugin.setup(config, { ...this.#env, metadata, use, metadataOf })
    this.#lasting = hooks.lasting === true
    const { pre_function: source } = this.#meta
    const prepared = source === undefined ? hooks : withPreFunction(hooks, this.#preparation(source))
    return withMeta(prepared, this.#meta, this.#env.usedBy === undefined)
  }

  /** It takes the place of `older`: what went on there goes on here. */
  succeed(older: Instance): void {
    if (older.#lasting) void this.hooks
  }

  /** What `_meta.pre_function` does before each phase. Its failure is logged and changes nothing (facts core 1.2). */
  #preparation(source: string): Preparation {
    const { sandbox, log, owner } = this.#env
    if (sandbox === undefined) throw new Error('JavaScript in configs is off')
    const place = { plugin: this.plugin.name, owner, at: '_meta.pre_function' }
    const own = new ConfigFunction(source, { sandbox, log, place })
    return (ctx, phase) =>
      own.run(ctx, phase, this.#config).then(
        () => {},
        () => {},
      )
  }

  #other(name: string): ReturnType<InstanceEnv['others']> {
    const found = this.#env.others(name)
    this.madeOf.set(name, found?.metadata)
    return found
  }

  /** See Env.use. */
  #use(name: string, config: Record<string, unknown>): Hooks {
    const { usedBy = [] } = this.#env
    const chain = [...usedBy, this.plugin.name]
    const others: InstanceEnv['others'] = other => this.#other(other)
    if (chain.includes(name)) throw new Error(`plugins use each other: ${[...chain, name].join(', ')}`)
    const found = this.#other(name)
    if (found === undefined) throw new Error(`there is no plugin ${name}`)
    const { plugin, metadata } = found
    const problem = configProblem(plugin, 'config', config)
    if (problem !== undefined) throw new Error(problem)
    const { _meta: meta = {}, ...own } = fillPlugin(plugin, config) as { _meta?: Meta }
    if (meta.disable === true) return {}
    const part = new Instance(plugin, own, meta, { ...this.#env, metadata, others, usedBy: chain })
    this.#parts.push(part)
    // What cannot be set up is not there to guard anything: then nor is what is made of it.
    part.#hooks = part.#setUp()
    return part.#hooks
  }

  async close(): Promise<void> {
    await Promise.all([this.#hooks?.close?.(), ...this.#parts.map(part => part.close())])
  }
}

/** A reference in the place of a secret is one that whoever has read the configuration could show. */
function mustBeKnown(config: unknown): void {
  for (const { path } of referencesIn(config)) throw new Error(`the secret that ${path} refers to is not known`)
}

/** A hook with the name of its plugin, for the log. */
export interface Step<H> {
  readonly plugin: string
  /** The plugin's name as breadcrumbs have it. */
  readonly mark: number
  /** The phase as trails have it. */
  readonly code: number
  readonly hook: H
}

/**
 * The arrays a request walks. Global rules come first in every phase, then the route's plugins, each list by priority,
 * high first, never interleaved (facts core 1.2, 1.3). `rewrite` is split because the route's plugins are attached, and
 * the consumer's join, between its parts.
 */
export interface Plan {
  readonly globalRewrite: readonly Step<TurnHook>[]
  readonly rewrite: readonly Step<TurnHook>[]
  /** Of plugins that only the consumer has; authentication is never run again (facts core 1.1, step 12). */
  readonly consumerRewrite: readonly Step<TurnHook>[]
  readonly access: readonly Step<TurnHook>[]
  readonly beforeProxy: readonly Step<TurnHook>[]
  readonly eventFilter: readonly Step<NonNullable<Hooks['event_filter']>>[]
  readonly headerFilter: readonly Step<NonNullable<Hooks['header_filter']>>[]
  readonly bodyFilter: readonly Step<NonNullable<Hooks['body_filter']>>[]
  readonly log: readonly Step<NonNullable<Hooks['log']>>[]
}

/** Plugins of a resource by name; undefined for one that is there and disabled, which still takes the place of another. */
export type Attached = ReadonlyMap<string, Instance | undefined>

/** The plan of `global` rules, a route's `own` plugins and, once somebody is known, their `consumer` plugins by name. */
export function plan(global: readonly Instance[], own: Attached, consumer: Attached = new Map()): Plan {
  const merged = new Map([...own, ...consumer])
  const rules = ordered(
    global.filter(rule => !(rule.plugin.runPolicy === 'prefer_route' && merged.get(rule.plugin.name) !== undefined)),
  )
  const attached = ordered(merged.values())
  const all = [...rules, ...attached]
  const newcomers = ordered(
    [...consumer]
      .filter(([name, joined]) => !own.has(name) && joined?.plugin.type !== 'auth')
      .map(([, joined]) => joined),
  )
  return {
    globalRewrite: steps(rules, 'rewrite'),
    rewrite: steps(ordered(own.values()), 'rewrite'),
    consumerRewrite: steps(newcomers, 'rewrite'),
    access: steps(all, 'access'),
    beforeProxy: steps(all, 'before_proxy'),
    eventFilter: steps(all, 'event_filter'),
    headerFilter: steps(all, 'header_filter'),
    bodyFilter: steps(all, 'body_filter'),
    log: steps(all, 'log'),
  }
}

function ordered(instances: Iterable<Instance | undefined>): Instance[] {
  return [...instances].filter(instance => instance !== undefined).sort((a, b) => b.priority - a.priority)
}

function steps<P extends keyof Hooks & StepName>(
  instances: readonly Instance[],
  phase: P,
): Step<NonNullable<Hooks[P]>>[] {
  const found: Step<NonNullable<Hooks[P]>>[] = []
  const code = stepCode(phase)
  for (const { plugin, hooks } of instances) {
    const hook = hooks[phase]
    if (hook !== undefined) found.push({ plugin: plugin.name, mark: markOf(plugin.name), code, hook })
  }
  return found
}

/** Wraps hooks in what `_meta` asks for; without it they are what they were. `isStep`: the kernel calls them itself. */
function withMeta(hooks: Hooks, meta: Meta, isStep: boolean): Hooks {
  let wrapped = hooks
  if (meta.error_response !== undefined) wrapped = withErrorResponse(wrapped, meta.error_response)
  if (meta.filter !== undefined) wrapped = withFilter(wrapped, meta.filter, isStep)
  return wrapped
}

/** `_meta.error_response`: the body of every exit with status >= 400; headers the plugin set stay. */
function withErrorResponse(hooks: Hooks, response: string | object): Hooks {
  const replace = (exit: Reply | void): Reply | void => {
    if (exit === undefined || exit.status < 400) return exit
    const headers = exit.headers.clone()
    headers.delete('content-length')
    const own = reply(exit.status, response)
    if (!headers.has('content-type')) headers.set('Content-Type', own.headers.get('content-type')!)
    return { ...own, headers }
  }
  const wrap = (hook: TurnHook | undefined): TurnHook | undefined =>
    hook &&
    (ctx => {
      const exit = hook(ctx)
      return exit instanceof Promise ? exit.then(replace) : replace(exit)
    })
  return turnHooks(hooks, wrap)
}

/** What each filter decided for a request, by the hooks it guards. */
const verdicts = slot<Map<Hooks, boolean>>()

/** `_meta.filter`: decided once per request, when the first hook of the plugin is about to run. Trouble means it runs. */
function withFilter(hooks: Hooks, expression: unknown[], isStep: boolean): Hooks {
  let test: (ctx: Context) => boolean
  try {
    const compiled = compileExpr(expression)
    test = ctx => compiled.test(name => variable(ctx, name))
  } catch {
    test = () => true
  }
  const runs = (ctx: Context): boolean => {
    const known = verdicts.get(ctx) ?? new Map<Hooks, boolean>()
    verdicts.set(ctx, known)
    let decided = known.get(hooks)
    if (decided === undefined) {
      try {
        decided = test(ctx)
      } catch {
        decided = true
      }
      known.set(hooks, decided)
    }
    if (!decided && isStep) ctx.trail?.end('skipped')
    return decided
  }
  const { event_filter, header_filter, body_filter, log } = hooks
  return {
    ...turnHooks(hooks, hook => hook && (ctx => (runs(ctx) ? hook(ctx) : undefined))),
    ...(event_filter && {
      event_filter: (ctx: Context, exchange: Exchange) => (runs(ctx) ? event_filter(ctx, exchange) : undefined),
    }),
    ...(header_filter && {
      header_filter(ctx: Context, answer: Reply): Awaitable<void> {
        return runs(ctx) ? header_filter(ctx, answer) : undefined
      },
    }),
    ...(body_filter && {
      body_filter(ctx: Context, answer: Reply): Filter | void {
        return runs(ctx) ? body_filter(ctx, answer) : undefined
      },
    }),
    ...(log && {
      log(ctx: Context): Awaitable<void> {
        return runs(ctx) ? log(ctx) : undefined
      },
    }),
  }
}

const turnPhases = ['rewrite', 'access', 'before_proxy'] as const
type TurnPhase = (typeof turnPhases)[number]

type Preparation = (ctx: Context, phase: FunctionPhase) => Promise<void>

/** Runs `before` each hook but that of the body, whose pieces are not its business. */
function withPreFunction(hooks: Hooks, before: Preparation): Hooks {
  const { header_filter, log } = hooks
  return {
    ...turnHooks(hooks, (hook, phase) => hook && (ctx => before(ctx, phase).then(() => hook(ctx)))),
    ...(header_filter && {
      header_filter: (ctx: Context, answer: Reply) =>
        before(ctx, 'header_filter').then(() => header_filter(ctx, answer)),
    }),
    ...(log && { log: (ctx: Context) => before(ctx, 'log').then(() => log(ctx)) }),
  }
}

function turnHooks(hooks: Hooks, wrap: (hook: TurnHook | undefined, phase: TurnPhase) => TurnHook | undefined): Hooks {
  const wrapped: Hooks = { ...hooks }
  for (const phase of turnPhases) {
    const hook = wrap(hooks[phase], phase)
    if (hook !== undefined) wrapped[phase] = hook
  }
  return wrapped
}
