// A valid value of every kind of resource, and where a PUT of it goes; they fit the plugins of the admin helper.
import { readFileSync } from 'node:fs'
import type { ResourceKind } from '../../core/resource.ts'

/** A file of t/fixtures/tls, without its ending. */
export const pem = (name: string) => readFileSync(new URL(`../fixtures/tls/${name}.pem`, import.meta.url), 'utf8')

export const nodes = { '127.0.0.1:80': 1 }

export interface Sample {
  /** Below /apisix/admin. */
  readonly collection: string
  readonly id: string
  readonly value: Readonly<Record<string, unknown>>
  /** Path and body of what must be there first. */
  readonly first?: readonly [path: string, body: object]
  /** An attribute and another value of it. */
  readonly change: readonly [name: string, value: unknown]
}

export const samples: Readonly<Record<Exclude<ResourceKind, 'stream_routes'>, Sample>> = {
  routes: {
    collection: 'routes',
    id: 'r1',
    value: { uri: '/a', upstream: { nodes } },
    change: ['labels', { team: 'x' }],
  },
  services: { collection: 'services', id: 's1', value: { name: 'a', upstream: { nodes } }, change: ['hosts', ['a.b']] },
  upstreams: { collection: 'upstreams', id: 'u1', value: { nodes }, change: ['retries', 2] },
  consumers: {
    collection: 'consumers',
    id: 'jack',
    value: { username: 'jack', plugins: { 'key-auth': { key: 'k1' } } },
    change: ['desc', 'x'],
  },
  credentials: {
    collection: 'consumers/rose/credentials',
    id: 'c1',
    value: { name: 'phone', plugins: { 'key-auth': { key: 'k2' } } },
    first: ['/consumers', { username: 'rose' }],
    change: ['desc', 'x'],
  },
  consumer_groups: {
    collection: 'consumer_groups',
    id: 'cg1',
    value: { name: 'a', plugins: { late: { n: 1 } } },
    change: ['desc', 'x'],
  },
  ssls: {
    collection: 'ssls',
    id: 'tls1',
    value: { snis: ['localhost'], cert: pem('self-signed'), key: pem('self-signed-key') },
    change: ['status', 0],
  },
  global_rules: { collection: 'global_rules', id: 'g1', value: { plugins: { late: {} } }, change: ['plugins', {}] },
  plugin_configs: {
    collection: 'plugin_configs',
    id: 'pc1',
    value: { plugins: { late: { n: 1 } } },
    change: ['desc', 'x'],
  },
  plugin_metadata: { collection: 'plugin_metadata', id: 'late', value: { limit: 1 }, change: ['limit', 2] },
  secrets: {
    collection: 'secrets',
    id: 'vault/1',
    value: { uri: 'http://127.0.0.1:8200', prefix: 'kv/apisix', token: 'root' },
    change: ['prefix', 'kv/other'],
  },
  protos: {
    collection: 'protos',
    id: 'p1',
    value: { content: 'syntax = "proto3"; message A { int32 n = 1; }' },
    change: ['desc', 'x'],
  },
  graphql_cost_decorations: {
    collection: 'services/s2/graphql_cost_decorations',
    id: 'd1',
    value: { field_path: 'Query.users', mul_arguments: ['first'] },
    first: ['/services/s2', {}],
    change: ['add_value', 3],
  },
}

export const sampleList = Object.entries(samples) as readonly (readonly [keyof typeof samples, Sample])[]
