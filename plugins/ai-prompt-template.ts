// ai-prompt-template: a request names one of the operator's templates and gives its values (facts ai-plugins 11).
import { type BodyTemplate, compileBodyTemplate, TemplateError, type Values } from '../core/body-template.ts'
import type { Context } from '../core/context.ts'
import { isObject, isTable } from '../core/llm/json.ts'
import { readJsonBody } from '../core/llm/json-body.ts'
import { plugin } from '../core/plugin.ts'
import { reply } from '../core/reply.ts'

const message = {
  type: 'object',
  properties: {
    role: { type: 'string', enum: ['system', 'user', 'assistant'] },
    content: { type: 'string', minLength: 1 },
  },
  required: ['role', 'content'],
  additionalProperties: true,
} as const

type Rendered = (values: Values) => unknown

export default plugin({
  name: 'ai-prompt-template',
  priority: 1071,
  version: 0.1,
  schema: {
    type: 'object',
    properties: {
      templates: {
        type: 'array',
        minItems: 1,
        items: {
          type: 'object',
          properties: {
            name: { type: 'string', minLength: 1 },
            template: {
              type: 'object',
              properties: {
                model: { type: 'string', minLength: 1 },
                messages: { type: 'array', minItems: 1, items: message },
              },
              additionalProperties: true,
            },
          },
          required: ['name', 'template'],
        },
      },
      max_req_body_size: { type: 'integer', minimum: 1, default: 67_108_864 },
    },
    required: ['templates'],
  },
  check({ templates }) {
    for (const { name, template } of templates) {
      try {
        compiled(template)
      } catch (error) {
        if (error instanceof TemplateError) return `template ${name}: ${error.message}`
        throw error
      }
    }
    return undefined
  },
  setup({ templates, max_req_body_size }) {
    // Of two with one name the first.
    const named = new Map(templates.map(({ name, template }) => [name, compiled(template)] as const).reverse())

    return {
      async rewrite(ctx) {
        const body = await readJsonBody(ctx, max_req_body_size, 400)
        if ('refusal' in body) return body.refusal
        const { json } = body
        if (!isTable(json)) return reply(400, { message: 'could not parse JSON request body: invalid JSON' })
        const given = isObject(json) ? json : {}
        const { template_name: name } = given
        if (name === undefined || name === null) return reply(400, { message: 'template name is missing in request.' })
        const template = typeof name === 'string' ? named.get(name) : undefined
        if (template === undefined) {
          // What is no text may not become one: String throws at some objects.
          const shown = isTable(name) ? typeof name : String(name).slice(0, 256)
          return reply(400, { message: `template: ${shown} not configured.` })
        }
        try {
          const rendered = template(ctx.request.method === 'GET' ? queryOf(ctx) : given)
          const bytes = Buffer.from(JSON.stringify(rendered))
          // A value may stand in more than one place, and escapes are longer than what they stand for.
          if (bytes.length > max_req_body_size) throw new TemplateError(`larger than ${max_req_body_size} bytes`)
          ctx.body.replace(bytes)
          return undefined
        } catch (error) {
          if (!(error instanceof TemplateError)) throw error
          return reply(503, { message: `request template rendering: ${error.message}` })
        }
      },
    }
  },
})

/**
 * APISIX renders the template's JSON text, so that a newline in a value breaks it and a raw value may add members. Here each
 * text and each key is one, and a value stays within it.
 */
function compiled(template: unknown): Rendered {
  if (typeof template === 'string') return compileBodyTemplate(template)
  if (Array.isArray(template)) {
    const items = template.map(compiled)
    return values => items.map(item => item(values))
  }
  if (!isObject(template)) return () => template
  const members = Object.entries(template).map(([key, value]): [BodyTemplate, Rendered] => [
    compileBodyTemplate(key),
    compiled(value),
  ])
  return values => Object.fromEntries(members.map(([key, value]) => [key(values), value(values)]))
}

/** Of an argument that comes twice the first. */
function queryOf({ request }: Context): Values {
  return Object.fromEntries([...request.queryAll()].map(([name, [value]]) => [name, value]))
}
