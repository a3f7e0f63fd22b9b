// Consumers (facts core 3.5): who asks; schema and type.
import type { Schema } from '../plugin.ts'
import { desc, id, labels, type Plugins, plugins, times } from './attributes.ts'
import type { Definition } from './definition.ts'

/** A consumer as the data plane uses it. Its key in the store is its username. */
export interface Consumer {
  username: string
  /** Of the group whose plugins stand below its own. */
  group_id?: string
  plugins?: Plugins
  desc?: string
  labels?: Record<string, string>
  create_time?: number
  update_time?: number
}

const schema: Schema = {
  type: 'object',
  properties: {
    id,
    username: { type: 'string', minLength: 1, maxLength: 256, pattern: '^[a-zA-Z0-9_\\-]+$' },
    group_id: id,
    plugins,
    desc,
    labels,
    ...times,
  },
  required: ['username'],
  additionalProperties: false,
}

export const consumer: Definition = { schema }
