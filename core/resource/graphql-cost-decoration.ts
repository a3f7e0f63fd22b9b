// GraphQL cost decorations of a service (facts core 3.2): what a field costs; schema only.
import type { Schema } from '../plugin.ts'
import { described, id } from './attributes.ts'
import type { Definition } from './definition.ts'

const factor = { type: 'number', minimum: 0, default: 1 } as const
const argument = { type: 'array', items: { type: 'string', minLength: 1 } } as const

const schema: Schema = {
  type: 'object',
  properties: {
    ...described,
    service_id: id,
    field_path: { type: 'string', pattern: '^[A-Za-z_][A-Za-z0-9_]*(\\.[A-Za-z_][A-Za-z0-9_]*)*$' },
    add_value: factor,
    add_arguments: argument,
    mul_value: factor,
    mul_arguments: argument,
  },
  required: ['field_path'],
  additionalProperties: false,
}

export const graphqlCostDecoration: Definition = { schema }
