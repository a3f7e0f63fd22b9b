// Resources: which are refused and in which words, and what the data plane gets of the others.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { PluginMap } from '../../core/known-plugins.ts'
import { hashVarsSchema } from '../../core/proxy/balancer/hash-key.ts'
import {
  checkResource,
  fillPlugin,
  isServed,
  prepareResource,
  type ResourceKind,
  resourceKind,
  resourceProblem,
  resourceSchema,
  type ServedKind,
  warnings,
} from '../../core/resource.ts'
import { builtins } from '../../plugins/index.ts'
import { fakePlugins } from '../helpers/admin.ts'
import { pem, sampleList, samples } from '../helpers/samples.ts'

type Value = Record<string, unknown>

const check = (kind: ResourceKind, value: unknown) =>
  isServed(kind) ? checkResource(kind, value, fakePlugins) : resourceProblem(kind, value, fakePlugins)
const nodes = { '127.0.0.1:80': 1 }
const route = (more: Value) => ({ uri: '/a', plugins: {}, ...more })
const upstream = (more: Value) => ({ nodes, ...more })
const notServed = (what: string) => `${what} is not served by this version of Sluice`
const functionsAreOff = 'JavaScript in configs is off here, sluice.javascript.enabled allows it (docs/plugins.md)'
const invalid = (what: string) => `invalid configuration: ${what}`
const attribute = (name: string, what: string) => invalid(`property "${name}" validation failed: ${what}`)

/** Each value gets the answer beside it. */
function table(kind: ResourceKind, rows: [value: unknown, said: string | undefined][]): void {
  for (const [value, said] of rows) assert.equal(check(kind, value), said, JSON.stringify(value).slice(0, 300))
}

describe('a route', () => {
  it('needs a uri or uris and somebody who answers', () => {
    const none = 'allOf 1 failed: value should match only one schema, but matches none'
    const [first, ...rest] = ['uri', 'uris'].flatMap(uri =>
      ['plugins', 'upstream', 'upstream_id', 'service_id', 'script'].map(answer => `["${answer}","${uri}"]`),
    )
    table('routes', [
      [{}, invalid(none)],
      [{ plugins: {} }, invalid(none)],
      [{ uri: '/a' }, invalid(`object matches none of the required: ${[first, ...rest].join(' or ')}`)],
      [
        { uri: '/a', uris: ['/b'], plugins: {} },
        invalid('allOf 1 failed: value should match only one schema, but matches both schemas 1 and 2'),
      ],
      [{ uri: '/a', plugins: {} }, undefined],
      [{ uris: ['/a', '/b'], upstream: { nodes } }, undefined],
      [{ uri: '/a', upstream_id: 1 }, undefined],
      [{ uri: '/a', service_id: 'x' }, undefined],
      [[], invalid('allOf 1 failed: value should match only one schema, but matches none')],
      ['x', invalid('wrong type: expected object, got string')],
    ])
  })

  it('keeps to the limits of its attributes', () => {
    table('routes', [
      [route({ uri: 1 }), attribute('uri', 'wrong type: expected string, got number')],
      [route({ uri: '' }), attribute('uri', 'string too short, expected at least 1, got 0')],
      [route({ uri: 'x'.repeat(4097) }), attribute('uri', 'string too long, expected at most 4096, got 4097')],
      [route({ foo: 1 }), invalid('additional properties forbidden, found foo')],
      [route({ id: 'a/b' }), attribute('id', 'object matches none of the required')],
      [route({ id: 'x'.repeat(65) }), attribute('id', 'object matches none of the required')],
      [route({ id: 0 }), attribute('id', 'object matches none of the required')],
      [route({ id: 'a-b_c.9' }), undefined],
      [route({ name: '' }), attribute('name', 'string too short, expected at least 1, got 0')],
      [route({ desc: '😀'.repeat(256) }), undefined],
      [route({ desc: 'x'.repeat(257) }), attribute('desc', 'string too long, expected at most 256, got 257')],
      [route({ methods: [] }), undefined],
      [route({ methods: ['GET', 'PURGE'] }), undefined],
      [
        route({ methods: ['GET', 'get'] }),
        attribute('methods', 'failed to validate item 2: matches none of the enum values'),
      ],
      [route({ host: '*.foo.com' }), undefined],
      [route({ host: '[::1]:8080' }), undefined],
      [route({ hosts: [] }), attribute('hosts', 'expect array to have at least 1 items')],
      [route({ hosts: ['a', 'a'] }), attribute('hosts', 'expected unique items but items 1 and 2 are equal')],
      [route({ host: 'a', hosts: ['b'] }), 'only one of host or hosts is allowed'],
      [
        route({ remote_addr: '1.1.1.1', remote_addrs: ['1.1.1.1'] }),
        'only one of remote_addr or remote_addrs is allowed',
      ],
      [route({ remote_addrs: ['10.0.0.0/8', '::1', 'fe80::/10', '1.2.3.4'] }), undefined],
      [route({ remote_addr: '010.0.0.1' }), attribute('remote_addr', 'object matches none of the required')],
      [route({ remote_addr: '::1/129' }), 'invalid ip address: ::1/129'],
      [route({ timeout: { connect: 1, send: 1 } }), attribute('timeout', 'property "read" is required')],
      [
        route({ timeout: { connect: 1, send: 1, read: 0 } }),
        attribute('timeout', 'property "read" validation failed: expected 0 to be greater than 0'),
      ],
      [route({ status: 2 }), attribute('status', 'matches none of the enum values')],
      [route({ priority: 1.5 }), attribute('priority', 'wrong type: expected integer, got number')],
      [route({ create_time: 1.5 }), attribute('create_time', 'wrong type: expected integer, got number')],
      [route({ labels: { a: 'b', team: 'x' } }), undefined],
      [
        route({ labels: { a: 'b c' } }),
        attribute('labels', 'failed to validate additional property a: failed to match pattern "^\\S+$" with "b c"'),
      ],
    ])
  })

  it('is refused by name where this version cannot serve it', () => {
    const lua = 'function(vars) return true end'
    table('routes', [
      [{ uri: '/a', script: lua }, notServed('script')],
      [
        route({ filter_func: lua }),
        "failed to load 'filter_func' string: it is Lua, which is not run here: write JavaScript: " +
          "function(vars) { return vars.arg_version === '2' } (docs/plugins.md, JavaScript in configs)",
      ],
      [route({ filter_func: 'function(vars) { return true }' }), `filter_func: ${functionsAreOff}`],
      [route({ enable_websocket: true }), notServed('enable_websocket')],
      [route({ enable_websocket: false }), undefined],
      [route({ upstream: upstream({ type: 'p2c' }) }), notServed('upstream.type "p2c"')],
      [
        route({ upstream: { service_name: 'a', discovery_type: 'nacos' } }),
        notServed('upstream.discovery_type "nacos"'),
      ],
    ])
  })

  it('may have functions where they are allowed, of variables that there are', () => {
    const allowed = new PluginMap(fakePlugins, true)
    const said = (filter_func: string) => checkResource('routes', route({ filter_func }), allowed)
    assert.equal(said('function(vars) { return vars.uri === "/a" }'), undefined)
    assert.equal(said('function(vars) { return vars.graphql_name }'), notServed('graphql_name in filter_func'))
    assert.match(
      said('function(vars) { return vars. }') ?? '',
      /^failed to load 'filter_func' string: it is no JavaScr/,
    )
  })

  it('is refused for an expression that is none', () => {
    assert.equal(check('routes', route({ vars: [['arg_a', '==', 'b']] })), undefined)
    assert.equal(
      check('routes', route({ vars: [['graphql_name', '==', 'b']] })),
      'graphql_name in vars is not served by this version of Sluice',
    )
    assert.match(
      check('routes', route({ vars: [['arg_a', 'like', 'b']] })) ?? '',
      /^failed to validate the 'vars' expression: invalid operator 'like'/,
    )
  })
})

describe('an upstream', () => {
  it('keeps to the limits of its attributes', () => {
    const none = 'value should match only one schema, but matches none'
    const anyNodes = attribute('nodes', 'object matches none of the required')
    const hash = (pattern: unknown, value: string) =>
      `type is chash, err: failed to match pattern "${pattern}" with "${value}"`
    const vars = hashVarsSchema.pattern
    table('upstreams', [
      [{}, invalid(none)],
      [{ nodes: {} }, undefined],
      [{ nodes: [] }, undefined],
      [{ nodes: { a: -1 } }, anyNodes],
      [{ nodes: [{ host: 'a' }] }, anyNodes],
      [{ nodes: [{ host: 'a', weight: 1, port: 65536 }] }, anyNodes],
      [{ nodes: [{ host: 'a', weight: 1, port: 1, priority: -1, metadata: {} }] }, undefined],
      [{ nodes: { 'a:0': 1 } }, 'invalid port 0'],
      [{ nodes: { 'a:65536': 1 } }, 'invalid port 65536'],
      [{ nodes: { 'a b:1': 1 } }, 'invalid node address a b:1'],
      [{ nodes: { '': 1 } }, 'invalid node address '],
      [{ nodes: { '[::1]:80': 1, '[::1]': 1, 'a.b-c_d:1': 0 } }, undefined],
      [{ nodes: { '::1': 1 } }, "IPv6 address must be enclosed with '[' and ']'"],
      [{ nodes: [{ host: '::1', port: 80, weight: 1 }] }, "IPv6 address must be enclosed with '[' and ']'"],
      [upstream({ pass_host: 'rewrite' }), "`upstream_host` can't be empty when `pass_host` is `rewrite`"],
      [upstream({ pass_host: 'rewrite', upstream_host: 'a.b' }), undefined],
      [upstream({ pass_host: 'other' }), attribute('pass_host', 'matches none of the enum values')],
      [upstream({ retries: -1 }), attribute('retries', 'expected -1 to be at least 0')],
      [upstream({ scheme: 'ftp' }), attribute('scheme', 'matches none of the enum values')],
      [upstream({ scheme: 'https', retries: 0, retry_timeout: 0 }), undefined],
      [
        upstream({ checks: { passive: {} } }),
        attribute('checks', 'object matches none of the required: ["active"] or ["active","passive"]'),
      ],
      [upstream({ type: 'chash' }), 'missing key'],
      [upstream({ type: 'chash', hash_on: 'header' }), 'missing key'],
      [upstream({ type: 'chash', hash_on: 'cookie', key: 'a b' }), hash('^[a-zA-Z0-9-_]+$', 'a b')],
      [upstream({ type: 'chash', key: 'http_x' }), hash(vars, 'http_x')],
      [
        upstream({ type: 'chash', hash_on: 'other', key: 'x' }),
        attribute('hash_on', 'matches none of the enum values'),
      ],
      [
        upstream({ tls: { client_cert: pem('self-signed'), client_key: pem('client-key') } }),
        'failed to parse key: it is not the key of the cert',
      ],
      [
        upstream({ tls: { client_cert: 'x'.repeat(128) } }),
        attribute('tls', 'failed to validate dependent schema for "client_cert": property "client_key" is required'),
      ],
    ])
  })

  it('is refused by name where this version cannot serve it', () => {
    table('upstreams', [
      ...['grpc', 'grpcs', 'tcp', 'tls', 'udp', 'kafka'].map((scheme): [object, string] => [
        upstream({ scheme }),
        notServed(`scheme "${scheme}"`),
      ]),
      ...['consul', 'consul_kv', 'nacos', 'eureka', 'kubernetes', 'tars', 'x'].map((type): [object, string] => [
        { service_name: 'a', discovery_type: type },
        notServed(`discovery_type "${type}"`),
      ]),
      [upstream({ type: 'p2c' }), notServed('type "p2c"')],
      [upstream({ discovery_type: 'dns' }), notServed('discovery_type')],
      [upstream({ service_name: 'a' }), notServed('service_name')],
      [{ service_name: 'a b', discovery_type: 'dns' }, notServed('service_name "a b"')],
      [{ service_name: 'a:x', discovery_type: 'dns' }, notServed('service_name "a:x"')],
    ])
    table('services', [[{ upstream: upstream({ type: 'p2c' }) }, notServed('upstream.type "p2c"')]])
  })

  it('is served with every kind of balancer, with checks, over TLS, and discovered by DNS', () => {
    table('upstreams', [
      [upstream({ type: 'chash', key: 'uri' }), undefined],
      [upstream({ type: 'chash', hash_on: 'consumer' }), undefined],
      [upstream({ type: 'chash', hash_on: 'vars_combinations', key: '$a$b' }), undefined],
      [upstream({ type: 'chash', hash_on: 'header', key: 'X-Tenant' }), undefined],
      [upstream({ type: 'ewma' }), undefined],
      [upstream({ type: 'least_conn' }), undefined],
      [upstream({ tls: { client_cert: pem('self-signed'), client_key: pem('self-signed-key') } }), undefined],
      [upstream({ scheme: 'https', tls: { verify: true, client_cert_id: 1 } }), undefined],
      [upstream({ keepalive_pool: { size: 1, idle_timeout: 0, requests: 1 } }), undefined],
      [upstream({ checks: { active: {} } }), undefined],
      [
        upstream({ checks: { active: { req_headers: ['Host: a', 'X:'], http_path: '/a?b' }, slow_start: 5 } }),
        undefined,
      ],
      [upstream({ checks: { active: { req_headers: ['no colon'] } } }), 'invalid req_headers "no colon"'],
      [upstream({ checks: { active: { req_headers: ['X: a\r\nY: b'] } } }), 'invalid req_headers "X: a\\r\\nY: b"'],
      [upstream({ checks: { active: { http_path: '/a b' } } }), 'invalid http_path "/a b"'],
      [{ service_name: 'a', discovery_type: 'dns' }, undefined],
      [{ service_name: '_http._tcp.a.b', discovery_type: 'dns' }, undefined],
      [{ service_name: 'a.b.:8080', discovery_type: 'dns', discovery_args: { namespace_id: 'x' } }, undefined],
    ])
  })
})

describe('a service, a consumer, a global rule', () => {
  it('keeps to the limits of its attributes', () => {
    table('services', [
      [{}, undefined],
      [{ name: 'a', hosts: ['*'], plugins: {}, upstream_id: 1 }, undefined],
      [{ hosts: [] }, attribute('hosts', 'expect array to have at least 1 items')],
      [{ uri: '/a' }, invalid('additional properties forbidden, found uri')],
      [{ script: 'local a = 1' }, notServed('script')],
      [{ enable_websocket: true }, notServed('enable_websocket')],
    ])
    table('consumers', [
      [{ username: 'jack_1-2', labels: { custom_id: 'x' } }, undefined],
      [{}, invalid('property "username" is required')],
      [{ username: 'a b' }, attribute('username', 'failed to match pattern "^[a-zA-Z0-9_\\-]+$" with "a b"')],
      [{ username: 'jack', name: 'x' }, invalid('additional properties forbidden, found name')],
      [{ username: 'jack', group_id: 1 }, undefined],
    ])
    table('global_rules', [
      [{ id: 1, plugins: {} }, undefined],
      [{ id: 1 }, invalid('property "plugins" is required')],
      [{ plugins: {} }, invalid('property "id" is required')],
      [{ id: 1, plugins: {}, name: 'x' }, invalid('additional properties forbidden, found name')],
    ])
  })

  it('of a kind that the data plane does not act on is refused there by the name of the kind', () => {
    for (const [kind, { id, value }] of sampleList) {
      const said = checkResource(kind, { id, ...value }, fakePlugins)
      assert.equal(said, isServed(kind) ? undefined : notServed(kind))
    }
  })
})

describe('every kind of resource', () => {
  it('has a valid value, and knows its items by their place in the store', () => {
    for (const [kind, { id, value }] of sampleList) {
      const whole = kind === 'consumers' ? value : { ...value, id }
      assert.equal(resourceProblem(kind, whole, fakePlugins), undefined, kind)
    }
    assert.equal(resourceKind({ kind: 'consumers', id: 'jack' }), 'consumers')
    assert.equal(resourceKind({ kind: 'consumers', id: 'jack/credentials/1' }), 'credentials')
    assert.equal(resourceKind({ kind: 'services', id: '1/graphql_cost_decorations/2' }), 'graphql_cost_decorations')
    assert.equal(resourceKind({ kind: 'secrets', id: 'vault/credentials' }), 'secrets')
    assert.equal(resourceKind({ kind: 'services', id: 'credentials' }), 'services')
  })
})

describe('a credential', () => {
  it('is of one plugin, which authenticates', () => {
    table('credentials', [
      [{}, undefined],
      [{ id: 'c1', name: 'a', desc: 'b', labels: { a: 'b' }, plugins: { 'key-auth': { key: 'k' } } }, undefined],
      [{ id: 'jack/credentials/c1', plugins: {} }, undefined],
      [{ id: 'jack/credential/c1', plugins: {} }, attribute('id', 'object matches none of the required')],
      [
        { plugins: { 'key-auth': { key: 'k' }, late: {} } },
        attribute('plugins', 'expect object to have at most 1 properties'),
      ],
      [{ plugins: { late: {} } }, 'only supports auth type plugins in consumer credential'],
      [{ plugins: { nobody: {} } }, 'unknown plugin nobody'],
      [
        { plugins: { 'key-auth': {} } },
        'failed to check the configuration of plugin key-auth err: property "key" is required',
      ],
      [{ username: 'jack' }, invalid('additional properties forbidden, found username')],
    ])
  })
})

describe('a consumer group, a plugin config', () => {
  it('has plugins and is described', () => {
    for (const kind of ['consumer_groups', 'plugin_configs'] as const) {
      table(kind, [
        [{ id: 1, plugins: {}, name: 'a', desc: 'b', labels: { a: 'b' }, create_time: 1 }, undefined],
        [{ id: 1 }, invalid('property "plugins" is required')],
        [{ plugins: {} }, invalid('property "id" is required')],
        [{ id: 1, plugins: {}, uri: '/a' }, invalid('additional properties forbidden, found uri')],
        [{ id: 1, plugins: { nobody: {} } }, 'unknown plugin [nobody]'],
      ])
    }
    table('consumer_groups', [
      [{ id: 1, plugins: {}, name: '' }, attribute('name', 'string too short, expected at least 1, got 0')],
    ])
    table('plugin_configs', [[{ id: 1, plugins: {}, name: '' }, undefined]])
  })
})

describe('an SSL object', () => {
  const [cert, key] = [pem('self-signed'), pem('self-signed-key')]
  const ssl = (more: Value) => ({ sni: 'localhost', cert, key, ...more })

  it('keeps to the limits of its attributes', () => {
    table('ssls', [
      [ssl({}), undefined],
      [{ snis: ['a.b', '*.a.b'], cert, key }, undefined],
      [ssl({ status: 0, ssl_protocols: ['TLSv1.2'], labels: { a: 'b' }, desc: '' }), undefined],
      [{ cert, key }, invalid('then clause did not match')],
      [ssl({ snis: ['a'] }), invalid('then clause did not match')],
      [{ type: 'client', cert, key }, undefined],
      [ssl({ type: 'other' }), attribute('type', 'matches none of the enum values')],
      [ssl({ cert: undefined }), invalid('property "cert" is required')],
      [ssl({ key: undefined }), invalid('property "key" is required')],
      [ssl({ cert: 'x' }), attribute('cert', 'string too short, expected at least 128, got 1')],
      [ssl({ name: 'a' }), invalid('additional properties forbidden, found name')],
      [
        ssl({ ssl_protocols: ['SSLv3'] }),
        attribute('ssl_protocols', 'failed to validate item 1: matches none of the enum values'),
      ],
      [ssl({ client: {} }), attribute('client', 'property "ca" is required')],
      [
        ssl({ client: { ca: cert, depth: -1 } }),
        attribute('client', 'property "depth" validation failed: expected -1 to be at least 0'),
      ],
      [ssl({ client: { ca: cert, depth: 0, skip_mtls_uri_regex: ['/a'] } }), undefined],
    ])
  })

  it('holds certificates that can be read, with their keys', () => {
    const starts = (value: unknown, said: string) =>
      assert.ok(check('ssls', value)?.startsWith(said), `${check('ssls', value)}`)
    starts(ssl({ cert: 'x'.repeat(128) }), 'failed to parse cert: ')
    starts(ssl({ key: 'x'.repeat(64) }), 'failed to parse key: ')
    table('ssls', [
      [ssl({ key: pem('client-key') }), 'failed to parse key: it is not the key of the cert'],
      [ssl({ certs: [cert] }), 'mismatched number of certs and keys'],
      [ssl({ certs: [cert], keys: [key] }), undefined],
      [
        ssl({ certs: [cert, cert], keys: [key, pem('client-key')] }),
        'failed to handle cert-key pair[2]: failed to parse key: it is not the key of the cert',
      ],
      [ssl({ client: { ca: pem('authority') + pem('self-signed') } }), undefined],
    ])
    starts(ssl({ client: { ca: 'x'.repeat(128) } }), 'failed to validate client_cert: ')
    for (const bad of [ssl({ key: `top-secret${key}` }), ssl({ cert: 'x'.repeat(128), key: `top-secret${key}` })]) {
      assert.ok(!check('ssls', bad)?.includes('top-secret'))
    }
  })

  it('may be kept elsewhere, and then nothing is known of it', () => {
    table('ssls', [
      [ssl({ cert: '$secret://vault/1/tls/cert', key: '$env://TLS_KEY' }), undefined],
      [ssl({ sni: '$env://SNI' }), undefined],
    ])
  })
})

describe('plugin metadata', () => {
  it('is what the plugin says, or any object where it says nothing', () => {
    table('plugin_metadata', [
      [{ id: 'late', anything: [1, { a: null }] }, undefined],
      [{ id: 'nobody' }, 'invalid plugin name'],
      [{}, 'invalid plugin name'],
      [[], 'invalid plugin name'],
      [{ id: 'ai-proxy', log_format: { a: '$b' } }, undefined],
      [{ id: 'ai-proxy', log_format: 'x' }, attribute('log_format', 'wrong type: expected object, got string')],
    ])
  })
})

describe('a secret', () => {
  const vault = { id: 'vault/1', uri: 'http://127.0.0.1:8200', prefix: 'kv', token: 't' }
  const aws = { id: 'aws/1', access_key_id: 'a', secret_access_key: 'b' }
  const account = { client_email: 'a@b', private_key: 'k', project_id: 'p' }

  it('is what its manager asks for', () => {
    table('secrets', [
      [vault, undefined],
      [{ ...vault, namespace: 'n' }, undefined],
      [{ ...vault, token: undefined }, invalid('property "token" is required')],
      [{ ...vault, prefix: undefined }, invalid('property "prefix" is required')],
      [
        { ...vault, uri: '127.0.0.1:8200' },
        attribute(
          'uri',
          'failed to match pattern "^[^\\/]+:\\/\\/([\\da-zA-Z.-]+|\\[[\\da-fA-F:]+\\])(:\\d+)?" with "127.0.0.1:8200"',
        ),
      ],
      [aws, undefined],
      [{ ...aws, session_token: 't', region: 'eu-west-1', endpoint_url: 'http://localhost:4566' }, undefined],
      [{ ...aws, access_key_id: undefined }, invalid('property "access_key_id" is required')],
      [{ id: 'gcp/1', auth_file: '/key.json', ssl_verify: false }, undefined],
      [{ id: 'gcp/1', auth_config: account }, undefined],
      [{ id: 'gcp/1' }, invalid('value should match only one schema, but matches none')],
      [
        { id: 'gcp/1', auth_config: account, auth_file: 'x' },
        invalid('value should match only one schema, but matches both schemas 1 and 2'),
      ],
      [
        { ...vault, id: 'vault/a b' },
        attribute('id', 'failed to match pattern "^[a-z]+/[a-zA-Z0-9-_.]{1,64}$" with "vault/a b"'),
      ],
    ])
  })
})

describe('a proto', () => {
  it('has content that can be a definition', () => {
    const content = (text: string) => check('protos', { content: text })
    for (const good of [
      'syntax = "proto3";\npackage a.b;\nimport public "x.proto";\noption java_package = "y";',
      'message A { int32 n = 1; message B { } } // }\n/* { */ enum C { D = 0; }',
      "syntax = 'proto3'; service S { rpc M (A) returns (B) { option (x) = { a: '}' }; } };",
      'option (my) = { a: 1 };',
      'syntax="proto3";',
      Buffer.from([0x0a, 3, 1, 2, 3]).toString('base64'),
      `${Buffer.from([0x0a, 0x81, 0x01, ...Array(129).fill(0)]).toString('base64')}\n`,
    ])
      assert.equal(content(good), undefined, good)
    for (const [bad, said] of [
      ['hello', 'neither a .proto file nor a descriptor set in base64'],
      ['aGVsbG8=', 'neither a .proto file nor a descriptor set in base64'],
      [Buffer.from([0x0a, 3, 1]).toString('base64'), 'neither a .proto file nor a descriptor set in base64'],
      [Buffer.from([0x0a, 0xff]).toString('base64'), 'neither a .proto file nor a descriptor set in base64'],
      ['message A {\n  int32 n = 1;\n', 'line 3: the file ends in the middle of a definition'],
      ['message A { }\n}', 'line 2: unexpected }'],
      ['syntax = "proto3;\n', 'line 1: unexpected "'],
      ['\n<html>', 'line 2: unexpected <'],
      ['class A { }', 'line 1: unexpected {'],
      ['return 1;', 'line 1: unexpected ;'],
      ['{}', 'line 1: unexpected {'],
    ] as const)
      assert.equal(content(bad), `invalid content: ${said}`, bad)
    assert.equal(content(''), attribute('content', 'string too short, expected at least 1, got 0'))
    assert.equal(check('protos', { name: 'a' }), invalid('property "content" is required'))
  })
})

describe('a stream route, a GraphQL cost decoration', () => {
  it('keeps to the limits of its attributes', () => {
    table('stream_routes', [
      [{ remote_addr: '10.0.0.0/8', server_port: 9100, sni: 'a.b', upstream: { nodes } }, undefined],
      [{ server_port: 0 }, attribute('server_port', 'expected 0 to be at least 1')],
      [{ protocol: {} }, attribute('protocol', 'property "name" is required')],
      [
        { protocol: { name: 'redis', superior_id: 1, logger: [{ name: 'x' }] } },
        attribute(
          'protocol',
          'property "logger" validation failed: failed to validate item 1: property "conf" is required when "name" is set',
        ),
      ],
      [{ plugins: { late: {} } }, 'unknown plugin [late]'],
      [{ uri: '/a' }, invalid('additional properties forbidden, found uri')],
    ])
    table('graphql_cost_decorations', [
      [{ field_path: 'a.b', add_value: 0, mul_value: 1.5, add_arguments: ['x'], service_id: 's' }, undefined],
      [{}, invalid('property "field_path" is required')],
      [{ field_path: 'a', mul_value: -1 }, attribute('mul_value', 'expected -1 to be at least 0')],
    ])
    assert.match(check('graphql_cost_decorations', { field_path: 'a.' }) ?? '', /failed to match pattern/)
  })
})

describe('plugins of a resource', () => {
  const ai = { provider: 'openai', auth: { header: { Authorization: 'Bearer top-secret' } } }
  const failed = (name: string, what: string) => `failed to check the configuration of plugin ${name} err: ${what}`
  const uses = (plugins: Value) => route({ plugins })

  it('must be known, and configured as they ask', () => {
    table('routes', [
      [uses({ 'ai-proxy': ai, 'key-auth': {} }), undefined],
      [uses({ nobody: {} }), 'unknown plugin [nobody]'],
      [
        uses({ 'serverless-pre-function': { functions: ['return function() end'] } }),
        `unknown plugin [serverless-pre-function]: ${functionsAreOff}`,
      ],
      [uses({ 'ai-proxy': { provider: 'openai' } }), failed('ai-proxy', 'property "auth" is required')],
      [
        uses({ 'ai-proxy': { ...ai, provider: 'x' } }),
        failed('ai-proxy', 'property "provider" validation failed: matches none of the enum values'),
      ],
      [uses({ late: { m: 1 } }), failed('late', 'additional properties forbidden, found m')],
      [uses({ 'ai-proxy': { ...ai, timeout: 13 } }), failed('ai-proxy', 'thirteen brings bad luck')],
      [uses({ late: 5 }), 'invalid plugin conf 5 for plugin [late]'],
      [uses({ late: null }), 'invalid plugin conf null for plugin [late]'],
      [uses({ late: 'secret' }), 'invalid plugin conf "***" for plugin [late]'],
      [uses({ late: [] }), undefined],
    ])
  })

  it('say nothing of secrets that they refuse', () => {
    const said = check(
      'routes',
      uses({ 'ai-proxy': { ...ai, auth: { header: { a: `top-secret${'x'.repeat(1000)}` } } } }),
    )
    assert.match(said ?? '', /string too long/)
    assert.ok(!said?.includes('top-secret'))
  })

  it('take _meta, and only what belongs there', () => {
    const meta = (_meta: unknown) => uses({ late: { _meta } })
    table('routes', [
      [meta({ disable: false, priority: 1, error_response: { a: 1 }, filter: [['uri', '==', '/a']] }), undefined],
      [meta({ error_response: 'text' }), undefined],
      [
        meta({ prio: 1 }),
        failed('late', 'property "_meta" validation failed: additional properties forbidden, found prio'),
      ],
      [meta({ filter: [['uri', 'like', '/a']] }), "failed to validate the 'vars' expression: invalid operator 'like'"],
      [
        meta({ pre_function: 'return function() end' }),
        'failed to load _meta.pre_function in plugin late: it is Lua, which is not run here: write JavaScript: ' +
          '(conf, ctx) => { ... } (docs/plugins.md, JavaScript in configs)',
      ],
      [meta({ pre_function: '(conf, ctx) => {}' }), `_meta.pre_function of plugin late: ${functionsAreOff}`],
    ])
  })

  it('may be anything that is known while they are disabled, with a warning', () => {
    const value = uses({ late: { m: 1, _meta: { disable: true } } })
    assert.equal(check('routes', value), undefined)
    assert.deepEqual(warnings('routes', value, fakePlugins), ['plugins.late is not valid, and disabled'])
    assert.equal(check('routes', uses({ nobody: { _meta: { disable: true } } })), 'unknown plugin [nobody]')
  })

  it('may rest on secrets kept elsewhere, wherever a value stands', () => {
    const value = uses({
      'ai-proxy': { ...ai, timeout: '$env://TIME', auth: { header: { Authorization: '$env://KEY' } } },
    })
    assert.equal(check('routes', value), undefined)
  })

  it('are checked as credentials on a consumer when they authenticate, and as they are when not', () => {
    const wrong = (what: string) => `invalid plugins configuration: ${what}`
    table('consumers', [
      [{ username: 'jack', plugins: { 'key-auth': { key: 'k' } } }, undefined],
      [{ username: 'jack', plugins: { 'key-auth': {} } }, wrong(failed('key-auth', 'property "key" is required'))],
      [{ username: 'jack', plugins: { late: { n: 1 } } }, undefined],
      [
        { username: 'jack', plugins: { late: { m: 1 } } },
        wrong(failed('late', 'additional properties forbidden, found m')),
      ],
      [{ username: 'jack', plugins: { nobody: {} } }, wrong('unknown plugin [nobody]')],
    ])
  })

  it('are filled with their defaults one by one', () => {
    const known = fakePlugins.get('ai-proxy')!
    assert.deepEqual(fillPlugin(known, ai), { ...ai, timeout: 30000 })
    assert.deepEqual(fillPlugin(fakePlugins.get('key-auth')!, {}), { header: 'apikey' })
    assert.deepEqual(fillPlugin(fakePlugins.get('key-auth')!, { key: 'k' }, 'consumer'), { key: 'k' })
  })
})

describe('warnings', () => {
  it('name what is accepted without effect', () => {
    const args = { discovery_type: 'dns', service_name: 'a', discovery_args: { namespace_id: 'x' } }
    assert.deepEqual(warnings('upstreams', args, fakePlugins), ['discovery_args has no effect'])
    const tls = upstream({ tls: { verify: true } })
    assert.deepEqual(warnings('upstreams', tls, fakePlugins), ['tls has no effect with scheme "http"'])
    assert.deepEqual(warnings('upstreams', { ...tls, scheme: 'https' }, fakePlugins), [])
    const { ssls } = samples
    assert.deepEqual(warnings('ssls', ssls.value, fakePlugins), [notServed('ssl of type "server"')])
    assert.deepEqual(warnings('ssls', { ...ssls.value, type: 'client' }, fakePlugins), [])
    const config = { provider: 'openai', auth: {}, keepalive_pool: 3, modle: 'x' }
    assert.deepEqual(warnings('routes', route({ upstream: tls, plugins: { 'ai-proxy': config } }), fakePlugins), [
      'upstream.tls has no effect with scheme "http"',
      'plugins.ai-proxy.keepalive_pool has no effect',
      'plugins.ai-proxy.modle has no effect',
    ])
    assert.deepEqual(warnings('routes', route({ upstream: upstream({}) }), fakePlugins), [])
  })

  it('name what nobody here knows, wherever it stands, once', () => {
    const value = route({
      upstream: {
        nodes: [
          { host: 'a', weight: 1, colour: 'red', metadata: { any: 1 } },
          { host: 'b', weight: 1, colour: 'blue' },
        ],
      },
      timeout: { connect: 1, send: 1, read: 1, think: 1 },
      labels: { any: 'x' },
    })
    assert.deepEqual(warnings('routes', value, fakePlugins), [
      'timeout.think has no effect',
      'upstream.nodes.colour has no effect',
    ])
  })

  it('name what stands deep in the config of a plugin, and nothing that is handed on', () => {
    const instance = { name: 'a', provider: 'openai', weight: 1, prority: 2, auth: {}, options: { top_k: 1 } }
    const prompt = { role: 'user', content: 'x', name: 'ops' }
    const template = { name: 't', template: { temperature: 0, messages: [prompt] } }
    const ones = [
      { 'ai-proxy-multi': { instances: [instance, instance], logging: { summarys: true } } },
      { 'ai-prompt-decorator': { prepend: [prompt] }, 'ai-prompt-template': { templates: [template] } },
    ].map(plugins => warnings('routes', route({ plugins }), new Map(builtins.map(each => [each.name, each]))))
    assert.deepEqual(ones, [
      [
        'plugins.ai-proxy-multi.logging.summarys has no effect',
        'plugins.ai-proxy-multi.instances.prority has no effect',
      ],
      [],
    ])
  })

  it('name metadata of a plugin that takes none, and a secret manager that nobody asks', () => {
    const said = (kind: ResourceKind, value: object) => warnings(kind, value, fakePlugins)
    assert.deepEqual(said('plugin_metadata', { id: 'late', a: 1 }), ['plugin late takes no metadata: it has no effect'])
    assert.deepEqual(said('plugin_metadata', { id: 'ai-proxy', log_format: {}, other: 1 }), ['other has no effect'])
    assert.deepEqual(said('secrets', { id: 'vault/1', ...samples.secrets.value }), [])
    const aws = { id: 'aws/1', access_key_id: 'a', secret_access_key: 'b' }
    assert.deepEqual(said('secrets', aws), [notServed('the secret manager aws')])
  })

  it('name the kind where nobody acts on it', () => {
    for (const [kind, { id, value }] of sampleList) {
      // What a secret manager keeps is known before the data plane gets it.
      if (isServed(kind) || kind === 'secrets') continue
      assert.ok(warnings(kind, { ...value, id }, fakePlugins).includes(notServed(kind)), kind)
    }
  })
})

describe('what the data plane gets', () => {
  it('has defaults, nodes as a list with ports, and ids as strings', () => {
    const value = { id: 1, uri: '/a', service_id: 7, upstream: { scheme: 'https', nodes: { '[::1]': 1, 'a:8': 2 } } }
    const prepared = prepareResource('routes', value)
    assert.deepEqual(prepared, {
      id: '1',
      uri: '/a',
      service_id: '7',
      priority: 0,
      status: 1,
      upstream: {
        type: 'roundrobin',
        hash_on: 'vars',
        scheme: 'https',
        pass_host: 'pass',
        nodes: [
          { host: '::1', port: 443, weight: 1, priority: 0 },
          { host: 'a', port: 8, weight: 2, priority: 0 },
        ],
      },
    })
    assert.equal(value.id, 1)
    const listed = prepareResource('upstreams', {
      nodes: [
        { host: '[fe80::1]', weight: 1 },
        { host: 'b:8', weight: 0 },
      ],
    })
    assert.deepEqual(listed.nodes, [
      { host: 'fe80::1', port: 80, weight: 1, priority: 0 },
      { host: 'b', port: 8, weight: 0, priority: 0 },
    ])
  })

  it('shares nothing with what was stored, and leaves plugin configs as they are', () => {
    const value = route({ plugins: { late: { n: 1 } } })
    const prepared = prepareResource('routes', value)
    assert.deepEqual(prepared.plugins, { late: { n: 1 } })
    assert.notEqual(prepared.plugins, value.plugins)
  })

  it('is made of everything that is accepted, whatever it is, and what is refused is refused without an exception', () => {
    const names = Object.keys((resourceSchema('routes').properties ?? {}) as object)
    const some = fc.oneof(
      fc.jsonValue({ maxDepth: 3 }),
      fc.constantFrom<unknown>('/a', 1, 'GET', nodes, { nodes }, ['a.b'], [['a', '==', 1]], { late: {} }, [], {}),
    )
    const kinds: ServedKind[] = ['routes', 'services', 'upstreams', 'consumers', 'global_rules']
    let accepted = 0
    fc.assert(
      fc.property(
        fc.constantFrom(...kinds),
        fc.dictionary(fc.constantFrom(...names, 'nodes', 'username'), some),
        (kind, value) => {
          const clean = JSON.parse(JSON.stringify(value)) as Value
          if (check(kind, clean) !== undefined) return
          accepted++
          prepareResource(kind, clean)
          warnings(kind, clean, fakePlugins)
        },
      ),
      { numRuns: 1000 },
    )
    assert.ok(accepted > 10, `${accepted} accepted`)
  })
})
