// ai-proxy-multi: the request is a call to an LLM, and one of several instances will answer it (facts ai-plugins 7).
import { call } from '../../core/llm/call.ts'
import { callLimits, callServices } from '../../core/llm/call-config.ts'
import { exchange } from '../../core/llm/exchange.ts'
import { takeCall } from '../../core/llm/intake.ts'
import { plugin } from '../../core/plugin.ts'
import { problem, schema, secrets } from './config.ts'
import { InstanceCourse, type Policy } from './course.ts'
import { makesGood, mindsLimits } from './fallback.ts'
import { Instances } from './instances.ts'

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
    for (const { place, instance, provider } of instances.targets) {
      if (place !== undefined) continue
      log.warn(
        { plugin: 'ai-proxy-multi', owner },
        `every request to ${instance} will fail: its override.endpoint must say where provider ${provider.name} is`,
      )
    }
    if (instances.only !== undefined && config.instances[0]!.checks !== undefined)
      log.warn({ plugin: 'ai-proxy-multi', owner }, 'checks of the only instance have no effect: it is always asked')
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
        const course = new InstanceCourse(ctx, exchange.get(ctx)!, policy)
        const nobody = await course.begin()
        if (nobody !== undefined) return nobody
        ctx.upstream = { send: ctx => call(ctx, course, means) }
        return undefined
      },
      lasting: instances.isChecked,
      async close() {
        instances.close()
        for (const forget of models) await forget()
      },
    }
  },
})
