// Global rules (facts core 3.7): plugins that run for every request; schema and type.
import type { Schema } from '../plugin.ts'
import { id, type Plugins, plugins, times } from './attributes.ts'

export interface GlobalRule {
  id: string
  plugins: Plugins
  create_time?: number
  update_time?: number
}

export const globalRuleSchema: Schema = {
  type: 'object',
  properties: { id, plugins, ...times },
  required: ['id', 'plugins'],
  additionalProperties: false,
}
