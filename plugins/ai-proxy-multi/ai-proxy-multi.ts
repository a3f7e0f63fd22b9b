// ai-proxy-multi: the request is a call to an LLM, and one of several instances will answer it (facts ai-plugins 7).
import { slot } from '../../core/context.ts'
import { call, llmCall } from '../../core/llm/call.ts'
import { callLimits, callServices } from '../../core/llm/call-config.ts'
import { exchange } from '../../core/llm/exchange.ts'
import { takeCall } from '../../core/llm/intake.ts'
import { plugin } from '../../core/plugin.ts'
import { problem, schema, secrets } from './config.ts'
import { InstanceCourse, type Policy } from './course.ts'
import { makesGood, mindsLimits } from './fallback.ts'
import { Instances } from './instances.ts'
import { type Choice, debugFields, SemanticChoice } from './semantic.ts'

/** What was chosen by meaning, for whoever debugs. */
const choices = slot<Choice>()

export default plugin({
  name: 'ai-proxy-multi',
  priority: 1041,
  version: 0.5,
  schema,
  encrypt: secrets,
  // Every event is flushed as it comes.
  inert: ['streaming_flush_interval_ms'],
  check: problem,
  setup(config, env) {
    const { log, metrics, owner } = env
    const instances = new Instances(config, env)
    for (const { target } of instances.all) {
      const { place, instance, provider } = target
      if (place !== undefined) continue
      log.warn(
        { plugin: 'ai-proxy-multi', owner },
        `every request to ${instance} will fail: its override.endpoint must say where provider ${provider.name} is`,
      )
    }
    if (!instances.isChecked && config.instances.some(({ checks }) => checks !== undefined)) {
      const why =
        instances.only === undefined ? 'by meaning nobody is passed over' : 'the only instance is always asked'
      log.warn({ plugin: 'ai-proxy-multi', owner }, `checks have no effect: ${why}`)
    }
    const semantic = config.balancer.algorithm === 'semantic' && new SemanticChoice(config, instances.all, env)
    const fallbacks = metrics.counter(
      'sluice_llm_fallbacks_total',
      'Attempts at an LLM in the place of which another instance was asked',
      ['route_id', 'node', 'code', 'reason'],
    )
    const policy: Policy = {
      instances,
      makesGood: makesGood(config),
      mindsLimits: mindsLimits(config),
      maxRetries: config.max_retries ?? Number.POSITIVE_INFINITY,
      withinMs: config.retry_on_failure_within_ms ?? Number.POSITIVE_INFINITY,
      patienceMs: config.wait_for_capacity_ms,
      log,
      now: env.now,
      fellBack: (ctx, { instance, status, reason }) =>
        fallbacks.add([ctx.route?.id ?? '', instance, String(status), reason]),
    }
    const means = { limits: callLimits(config), services: callServices(env) }
    const models = config.instances.map(({ options }) => metrics.configured('llm_model', options?.model ?? ''))
    return {
      async access(ctx) {
        const refusal = await takeCall(ctx, config, '')
        if (refusal !== undefined) {
          if (refusal.status === 413)
            log.error({ route: ctx.route?.id, request_id: ctx.id }, 'failed to read request body')
          return refusal
        }
        const known = exchange.get(ctx)!
        if (semantic !== false) {
          const choice = await semantic.choose(ctx, known)
          choices.set(ctx, choice)
          known.instance = choice.instance.name
          known.choices.push(semantic.candidates(choice))
          log.info({ route: ctx.route?.id, request_id: ctx.id }, `picked instance: ${known.instance}`)
          ctx.upstream = llmCall(choice.instance.target, means.limits, means.services)
          return undefined
        }
        const course = new InstanceCourse(ctx, known, policy)
        const nobody = await course.begin()
        if (nobody !== undefined) return nobody
        ctx.upstream = { send: ctx => call(ctx, course, means) }
        return undefined
      },
      ...(config.semantic_opts?.debugging === true && {
        header_filter(ctx, { headers }) {
          const choice = choices.get(ctx)
          for (const [name, value] of choice === undefined ? [] : debugFields(choice)) headers.set(name, value)
        },
      }),
      lasting: instances.isChecked,
      async close() {
        instances.close()
        for (const forget of models) await forget()
      },
    }
  },
})
