// Credentials of a consumer (facts core 3.6): one way each in which it is recognised.
import type { Schema } from '../plugin.ts'
import { desc, id, labels, name, type Plugins, plugins, times } from './attributes.ts'
import type { Definition } from './definition.ts'

/** A credential as the data plane uses it. Its key in the store says whose it is. */
export interface Credential {
  plugins?: Plugins
}

const schema: Schema = {
  type: 'object',
  properties: {
    id: {
      anyOf: [
        ...id.anyOf,
        { type: 'string', minLength: 15, maxLength: 128, pattern: '^[a-zA-Z0-9_\\-]+/credentials/[a-zA-Z0-9-_.]+$' },
      ],
    },
    name,
    desc,
    labels,
    plugins: { ...plugins, maxProperties: 1 },
    ...times,
  },
  additionalProperties: false,
}

export const credential: Definition = { schema }
