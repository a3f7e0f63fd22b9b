// Sets of plugins that others name or that stand alone: consumer groups, plugin configs and global rules (facts core 3.7).
import type { Schema } from '../plugin.ts'
import { desc, id, labels, name, type Plugins, plugins, times } from './attributes.ts'
import type { Definition } from './definition.ts'

/** One of them as the data plane uses it. */
export interface PluginSet {
  id: string
  plugins: Plugins
  create_time?: number
  update_time?: number
}

const set = (more: Readonly<Record<string, Schema>>): Schema => ({
  type: 'object',
  properties: { id, plugins, ...more, ...times },
  required: ['id', 'plugins'],
  additionalProperties: false,
})

export const globalRule: Definition = { schema: set({}) }
export const consumerGroup: Definition = { schema: set({ name, desc, labels }) }
export const pluginConfig: Definition = { schema: set({ name: { type: 'string' }, desc, labels }) }
