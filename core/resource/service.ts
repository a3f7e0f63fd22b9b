// Services (facts core 3.2): what several routes share; schema, type, and what a schema cannot say.
import type { Schema } from '../plugin.ts'
import { type Described, described, host, id, type Plugins, plugins } from './attributes.ts'
import type { Definition } from './definition.ts'
import { notServed, unserved } from './unserved.ts'
import { type Upstream, upstreamSchema } from './upstream.ts'

/** A service as the data plane uses it: defaults filled, ids as strings. */
export interface Service extends Described {
  plugins?: Plugins
  upstream?: Upstream
  upstream_id?: string
  hosts?: string[]
}

const schema: Schema = {
  type: 'object',
  properties: {
    ...described,
    plugins,
    upstream: upstreamSchema,
    upstream_id: id,
    script: { type: 'string', minLength: 10, maxLength: 102400 },
    enable_websocket: { type: 'boolean' },
    hosts: { type: 'array', minItems: 1, uniqueItems: true, items: host },
  },
  additionalProperties: false,
}

export const service: Definition = {
  schema,
  unserved: value =>
    unserved(value, ['script'], '') ?? (value.enable_websocket === true ? notServed('enable_websocket') : undefined),
}
