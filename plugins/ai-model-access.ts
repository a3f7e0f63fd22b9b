// ai-model-access: which models a client may ask for, and under which names (ours, not APISIX's); knows no provider.
import { type Exchange, exchange } from '../core/llm/exchange.ts'
import { isObject } from '../core/llm/json.ts'
import { keysOf, withMember } from '../core/llm/json-splice.ts'
import { protocolNamed } from '../core/llm/protocols/detect.ts'
import { passthrough } from '../core/llm/protocols/passthrough.ts'
import type { ProtocolError } from '../core/llm/protocols/protocol.ts'
import { plugin } from '../core/plugin.ts'
import { type Reply, reply } from '../core/reply.ts'

const name = { type: 'string', minLength: 1, maxLength: 256 } as const

export default plugin({
  name: 'ai-model-access',
  // Behind the plugins that find out what the request is, in front of those that answer or count it.
  priority: 1039,
  version: 1,
  schema: {
    type: 'object',
    properties: {
      models: { type: 'array', minItems: 1, items: name },
      aliases: { type: 'object', additionalProperties: name },
      default: name,
    },
    additionalProperties: false,
  },
  check({ models, aliases = {}, default: byDefault }) {
    const wrong = models?.find(model => model.slice(0, -1).includes('*'))
    if (wrong !== undefined) return `models: ${wrong} has a * that is not its end`
    const isLost = byDefault !== undefined && !Object.hasOwn(aliases, byDefault) && !allowing(models)(byDefault)
    return isLost ? 'default is neither an alias nor one of models' : undefined
  },
  setup({ models, aliases = {}, default: byDefault }) {
    const allows = allowing(models)
    const names = new Map(Object.entries(aliases as Record<string, string>))

    return {
      async access(ctx) {
        const call = exchange.get(ctx)
        // Not a call to an LLM, or one that asks no model anything.
        if (call === undefined || ctx.body.empty) return undefined
        const json = await ctx.body.json(Number.POSITIVE_INFINITY)
        const bytes = await ctx.body.bytes(Number.POSITIVE_INFINITY)
        // Some clients name it in the path.
        const asked = isObject(json) ? (json.model ?? call.requestModel) : undefined
        if (models !== undefined && isObject(json) && keysOf(bytes).filter(isModel).length > 1)
          return refused(call, { status: 400, code: 'model_ambiguous', message: 'the request names its model twice' })
        // What is passed through may name another model where nobody looks.
        const model = asked ?? (call.protocol === 'passthrough' ? undefined : byDefault)
        const found = typeof model === 'string' ? (names.get(model) ?? (allows(model) ? model : undefined)) : undefined
        if (found !== undefined && isObject(json)) {
          if (found !== asked) ctx.body.replace(withMember(bytes, 'model', JSON.stringify(found)))
          return undefined
        }
        if (models === undefined) return undefined
        return refused(call, { status: 403, code: 'model_not_found', message: refusal(model) })
      },
    }
  },
})

/** An entry is a model's name, or the beginning of some, which `*` ends. Without a list all are allowed. */
function allowing(models: readonly string[] | undefined): (model: string) => boolean {
  if (models === undefined) return () => true
  const exact = new Set(models)
  const beginnings = models.filter(model => model.endsWith('*')).map(model => model.slice(0, -1))
  return model => exact.has(model) || beginnings.some(beginning => model.startsWith(beginning))
}

/**
 * Of two members with one name some readers take the first and some the last, and those of Go do not tell `Model` from
 * `model`: what is allowed here would not be what is asked there.
 */
function isModel(key: string): boolean {
  return key.toLowerCase() === 'model'
}

function refusal(model: unknown): string {
  if (model === undefined) return 'the request names no model'
  const said = typeof model === 'string' ? `the model ${model.slice(0, 128)}` : 'this model'
  return `${said} does not exist, or you may not use it`
}

function refused({ protocol }: Exchange, error: ProtocolError): Reply {
  const speech = protocolNamed(protocol) ?? passthrough
  return reply(error.status, speech.errorBody(error), { 'Content-Type': 'application/json' })
}
