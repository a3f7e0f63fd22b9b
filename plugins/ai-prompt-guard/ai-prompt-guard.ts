// ai-prompt-guard: what is asked must match one of the allow patterns and none of the deny patterns (facts ai-plugins 9), and
// what is answered none of others.
import { Guarding } from '../../core/llm/guards/guarding.ts'
import { plugin } from '../../core/plugin.ts'
import { answerGuard } from './answer-guard.ts'
import { problemOf, schema } from './config.ts'
import { requestGuard } from './request-guard.ts'

const name = 'ai-prompt-guard'

export default plugin({
  name,
  priority: 1072,
  version: 0.1,
  schema,
  check: problemOf,
  setup(config, env) {
    const guarding = new Guarding(name, env, config)
    return {
      access: requestGuard(config, guarding, env.log),
      ...(config.response_deny_patterns.length > 0 && { event_filter: answerGuard(config, guarding) }),
    }
  },
})
