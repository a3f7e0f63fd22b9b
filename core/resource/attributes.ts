// Attributes that several resources share (facts core 0): schema and type; knows no resource.
import type { Schema } from '../plugin.ts'

export const id = {
  anyOf: [
    { type: 'string', minLength: 1, maxLength: 64, pattern: '^[a-zA-Z0-9-_.]+$' },
    { type: 'integer', minimum: 1 },
  ],
} as const satisfies Schema

export const host = { type: 'string', pattern: '^\\*$|^\\*?[0-9a-zA-Z-._\\[\\]:]+$' } as const satisfies Schema

const octet = '(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])'

/** Loose for IPv6 networks, as APISIX's; a real parser has the last word. */
export const address = {
  anyOf: [
    { type: 'string', format: 'ipv4' },
    { type: 'string', pattern: `^(${octet}\\.){3}${octet}/(3[0-2]|[12]?[0-9])$` },
    { type: 'string', format: 'ipv6' },
    { type: 'string', pattern: '^[0-9a-fA-F:.]{2,45}/[0-9]{1,3}$' },
  ],
} as const satisfies Schema

export const labels = {
  type: 'object',
  additionalProperties: { type: 'string', minLength: 1, maxLength: 256, pattern: '^\\S+$' },
} as const satisfies Schema

export const name = { type: 'string', minLength: 1, maxLength: 256 } as const satisfies Schema
export const desc = { type: 'string', maxLength: 256 } as const satisfies Schema

/** Seconds, each. */
export interface Timeout {
  connect: number
  send: number
  read: number
}

const seconds = { type: 'number', exclusiveMinimum: 0 } as const
export const timeout = {
  type: 'object',
  properties: { connect: seconds, send: seconds, read: seconds },
  required: ['connect', 'send', 'read'],
} as const satisfies Schema

export const methods = [
  'GET',
  'POST',
  'PUT',
  'DELETE',
  'PATCH',
  'HEAD',
  'OPTIONS',
  'CONNECT',
  'TRACE',
  'PURGE',
] as const

export const times = { create_time: { type: 'integer' }, update_time: { type: 'integer' } } as const

/** What each plugin's config must be, its own schema says. */
export const plugins = { type: 'object' } as const satisfies Schema

/** Plugin configs by name, each with its `_meta` if it has one. */
export type Plugins = Record<string, Record<string, unknown>>

/** What every resource has beside its own; times are Unix seconds. */
export interface Described {
  id?: string
  name?: string
  desc?: string
  labels?: Record<string, string>
  create_time?: number
  update_time?: number
}

export const described = { id, name, desc, labels, ...times } as const
