// What the key of a consistent hash may be (facts core 3.3): the schemas, and what is wrong with one; knows no resource.
import type { Schema } from '../../json-schema.ts'
import { validator } from '../../schema.ts'

export const hashVarsSchema: Schema = {
  type: 'string',
  pattern:
    '^((uri|server_name|server_addr|request_uri|remote_port|remote_addr|query_string|host|hostname|mqtt_client_id)|arg_[0-9a-zA-z_-]+)$',
}
export const hashHeaderSchema: Schema = { type: 'string', pattern: '^[a-zA-Z0-9-_]+$' }

/** Of `vars_combinations` any text will do, and a consumer needs none. */
const hashKeys: Readonly<Record<string, ReturnType<typeof validator> | undefined>> = {
  vars: validator(hashVarsSchema, { references: false }),
  header: validator(hashHeaderSchema, { references: false }),
  cookie: validator(hashHeaderSchema, { references: false }),
}

export function hashKeyProblem(hashOn: string, key: unknown): string | undefined {
  return hashKeys[hashOn]?.check(key)
}
