// Secrets (facts core 3.10): where a manager keeps what `$secret://manager/id/...` refers to.
import type { Schema } from '../plugin.ts'
import { times } from './attributes.ts'
import type { Definition } from './definition.ts'
import { notServed } from './unserved.ts'

const text = { type: 'string' } as const
const uri = { type: 'string', pattern: '^[^\\/]+:\\/\\/([\\da-zA-Z.-]+|\\[[\\da-fA-F:]+\\])(:\\d+)?' } as const
const id = { type: 'string', pattern: '^[a-z]+/[a-zA-Z0-9-_.]{1,64}$' } as const

const account = {
  type: 'object',
  properties: {
    client_email: text,
    private_key: text,
    project_id: text,
    token_uri: { ...text, default: 'https://oauth2.googleapis.com/token' },
    entries_uri: { ...text, default: 'https://secretmanager.googleapis.com/v1' },
    scope: { type: 'array', items: text, default: ['https://www.googleapis.com/auth/cloud-platform'] },
  },
  required: ['client_email', 'private_key', 'project_id'],
} as const

/** By the name of the manager, which is the first half of an id. */
export const secretManagers: Readonly<Record<string, Schema>> = {
  vault: {
    type: 'object',
    properties: { id, uri, prefix: text, token: text, namespace: text, ...times },
    required: ['uri', 'prefix', 'token'],
  },
  aws: {
    type: 'object',
    properties: {
      id,
      access_key_id: text,
      secret_access_key: text,
      session_token: text,
      region: { ...text, default: 'us-east-1' },
      endpoint_url: uri,
      ...times,
    },
    required: ['access_key_id', 'secret_access_key'],
  },
  gcp: {
    type: 'object',
    properties: { id, auth_config: account, auth_file: text, ssl_verify: { type: 'boolean', default: true }, ...times },
    oneOf: [{ required: ['auth_config'] }, { required: ['auth_file'] }],
  },
}

/** The manager in `manager/id`; undefined where there is none of that name. */
export function managerOf(id: unknown): string | undefined {
  const [manager = ''] = typeof id === 'string' ? id.split('/') : []
  return Object.hasOwn(secretManagers, manager) ? manager : undefined
}

/** What each must be, its manager's schema says. */
export const secret: Definition = {
  schema: { type: 'object', properties: { id }, required: ['id'], oneOf: Object.values(secretManagers) },
  ineffective({ id }) {
    const manager = managerOf(id)
    return manager === 'vault' ? [] : [notServed(`the secret manager ${manager}`)]
  },
}
