// ai-proxy: the request is a call to an LLM, and one provider will answer it (facts ai-plugins 6); knows how to ask nobody.
import { llmCall } from '../core/llm/call.ts'
import { callLimits, callProperties, callServices } from '../core/llm/call-config.ts'
import {
  accountProblem,
  instanceProperties,
  instanceSecrets,
  openInstance,
  providerProblem,
} from '../core/llm/instance-config.ts'
import { takeCall } from '../core/llm/intake.ts'
import { plugin, type Schema } from '../core/plugin.ts'

const schema = {
  type: 'object',
  properties: { ...instanceProperties, ...callProperties },
  required: ['provider', 'auth'],
} as const satisfies Schema

export default plugin({
  name: 'ai-proxy',
  priority: 1040,
  version: 0.5,
  schema,
  encrypt: instanceSecrets,
  // Every event is flushed as it comes.
  inert: ['streaming_flush_interval_ms'],
  check: config => accountProblem(config) ?? providerProblem(config),
  setup(config, env) {
    const target = openInstance(`ai-proxy-${config.provider}`, config, config, env)
    if (target.place === undefined) {
      env.log.warn(
        { plugin: 'ai-proxy', owner: env.owner },
        `every request will fail: override.endpoint must say where provider ${config.provider} is, with http:// or https://`,
      )
    }
    const call = llmCall(target, callLimits(config), callServices(env))
    return {
      async access(ctx) {
        const refusal = await takeCall(ctx, config, target.instance)
        if (refusal === undefined) ctx.upstream = call
        else if (refusal.status === 413)
          env.log.error({ route: ctx.route?.id, request_id: ctx.id }, 'failed to read request body')
        return refusal
      },
      close: env.metrics.configured('llm_model', config.options?.model ?? ''),
    }
  },
})
