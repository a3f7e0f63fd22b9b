// Stream routes (facts core 3.12): for forms and validators; only HTTP is proxied, so none can be made.
import type { Schema } from '../plugin.ts'
import { address, described, host, id, plugins } from './attributes.ts'
import type { Definition } from './definition.ts'
import { upstreamSchema } from './upstream.ts'

const schema: Schema = {
  type: 'object',
  properties: {
    ...described,
    remote_addr: address,
    server_addr: address,
    server_port: { type: 'integer', minimum: 1, maximum: 65535 },
    sni: host,
    upstream: upstreamSchema,
    upstream_id: id,
    service_id: id,
    plugins,
    protocol: {
      type: 'object',
      properties: {
        name: { type: 'string' },
        superior_id: id,
        conf: { type: 'object' },
        logger: {
          type: 'array',
          items: {
            type: 'object',
            properties: { name: { type: 'string' }, filter: { type: 'array' }, conf: { type: 'object' } },
            dependencies: { name: ['conf'] },
          },
        },
      },
      required: ['name'],
    },
  },
  additionalProperties: false,
}

export const streamRoute: Definition = { schema }
