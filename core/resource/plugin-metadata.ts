// Plugin metadata (facts core 3.9): settings that all uses of a plugin share; what they must be, the plugin says.
import type { Definition } from './definition.ts'

/** Of plugins that say nothing. */
export const pluginMetadata: Definition = { schema: { type: 'object' } }
