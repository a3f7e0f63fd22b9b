// The configuration as an operator meets it: what a file becomes, and the one line that a wrong file gets.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: it is the configuration's own syntax
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import fc from 'fast-check'
import type { Key } from '../../core/config/key.ts'
import { schema } from '../../core/config/schema.ts'
import {
  ConfigError,
  type LoadedConfig,
  listeners,
  loadConfig,
  paths,
  providerOf,
  standaloneOf,
} from '../../core/config.ts'

const file = 'config.yaml'

/** Loads text as config.yaml; `FILE` in messages is its name. */
function load(text: string | Buffer, env: Record<string, string> = {}): LoadedConfig {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-config-'))
  try {
    writeFileSync(join(folder, file), text)
    return loadConfig({ file: join(folder, file), env })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** The one line that a file is refused with, without the folder. */
function refusal(text: string | Buffer, env: Record<string, string> = {}): string {
  try {
    load(text, env)
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error))
    assert.doesNotMatch(error.message, /\n/)
    return error.message.replace(/^.*?config\.yaml/, file)
  }
  assert.fail('the file was accepted')
}

const warningsOf = (text: string, env = {}) =>
  load(text, env).warnings.map(each => each.replace(/^.*?config\.yaml/, file))

/** `a.b: value` as nested YAML on a single line. */
const nested = (path: string, value: string) =>
  path.split('.').reduceRight((inner, name) => `{${JSON.stringify(name)}: ${inner}}`, value)

describe('the configuration', () => {
  describe('of an empty file', () => {
    it('has the documented addresses', () => {
      const addresses = listeners(load('').config)
      const shown = Object.entries(addresses).map(([name, all]) => [
        name,
        ...all.map(each => `${each.host} ${each.port}`),
      ])
      assert.deepEqual(shown, [
        ['data', '0.0.0.0 9080', ':: 9080'],
        ['admin', '0.0.0.0 9180'],
        ['control', '127.0.0.1 9090'],
        ['status', '127.0.0.1 7085'],
        ['prometheus', '127.0.0.1 9091'],
      ])
    })

    it('lets only this machine reach the admin API', () => {
      assert.deepEqual(load('').config.deployment.admin.allowAdmin, ['127.0.0.0/24'])
    })

    it('is frozen to its leaves', () => {
      const { config } = load('apisix: {node_listen: [1, {ip: 10.0.0.1, port: 2}]}')
      assert.throws(() => Object.assign(config.apisix, { enableAdmin: false }), TypeError)
      assert.throws(() => Object.assign(config.apisix.nodeListen[1]!, { port: 3 }), TypeError)
      assert.throws(() => (config.apisix.nodeListen as unknown[]).push(4), TypeError)
    })

    it('can be posted to a thread', () => {
      const { config } = load('')
      assert.deepEqual(structuredClone(config), config)
    })
  })

  it('takes the service account of Google’s from the environment, above the file, and quotes none of it', () => {
    const file = 'sluice: {gcp_service_account: "{}"}'
    assert.equal(load(file).config.sluice.gcpServiceAccount, '{}')
    assert.equal(load(file, { GCP_SERVICE_ACCOUNT: '{"a":1}' }).config.sluice.gcpServiceAccount, '{"a":1}')
    assert.equal(load('', { GCP_SERVICE_ACCOUNT: '' }).config.sluice.gcpServiceAccount, undefined)
    assert.match(
      refusal('sluice: {gcp_service_account: {private_key: planted}}'),
      /: expected text, got a group of keys$/,
    )
  })

  describe('of conf/config.example.yaml', () => {
    const path = 'conf/config.example.yaml'
    const text = readFileSync(path, 'utf8')

    it('is the defaults, without a warning', () => {
      const { config, warnings } = loadConfig({ file: path, env: {} })
      assert.deepEqual(config, load('').config)
      assert.deepEqual(warnings, [])
    })

    it('has every key, commented out where there is no default', () => {
      const at = loadConfig({ file: path, env: {} }).where
      const optional = (path: string) =>
        keyAt(path).optional ? new RegExp(`^ *# ${path.split('.').at(-1)}:`, 'm') : undefined
      const missing = paths(schema).filter(path => !(optional(path)?.test(text) ?? /:\d+: /.test(exact(at, path))))
      assert.deepEqual(missing, [])
    })

    function keyAt(path: string): Key<unknown> {
      return path.split('.').reduce<Key<unknown>>((key, name) => key.keys![name]!, schema)
    }

    /** Where a key stands, if its own line says so; a key above it does not count. */
    function exact(where: (path: string) => string, path: string): string {
      const found = where(path)
      const line = Number(/:(\d+): /.exec(found)?.[1] ?? 0)
      return text
        .split('\n')
        [line - 1]?.trim()
        .startsWith(`${path.split('.').at(-1)}:`)
        ? found
        : ''
    }
  })

  describe('of conf/config.yaml', () => {
    it('is the defaults, written short', () => {
      const { config, warnings } = loadConfig({ file: 'conf/config.yaml', env: {} })
      assert.deepEqual(config, load('').config)
      assert.deepEqual(warnings, [])
    })
  })

  describe('merged over the defaults', () => {
    it('keeps the siblings of a key that is written', () => {
      const { control, status } = load('apisix: {control: {port: 9999}, status: {ip: 0.0.0.0}}').config.apisix
      assert.deepEqual(control, { ip: '127.0.0.1', port: 9999 })
      assert.deepEqual(status, { ip: '0.0.0.0', port: 7085 })
    })

    it('replaces lists whole', () => {
      const { allowAdmin } = load('deployment: {admin: {allow_admin: [10.0.0.0/8, "::1"]}}').config.deployment.admin
      assert.deepEqual(allowAdmin, ['10.0.0.0/8', '::1'])
    })

    it('takes null as nobody, nothing or everybody where that means something', () => {
      const { config } = load('apisix: {status: null}\ndeployment: {admin: {allow_admin: null}}')
      assert.equal(config.apisix.status, undefined)
      assert.deepEqual(config.deployment.admin.allowAdmin, [])
      assert.deepEqual(listeners(config).status, [])
    })

    it('refuses null where a default would be missed', () => {
      assert.equal(
        refusal('apisix:\n  node_listen:\n'),
        'config.yaml:2: apisix.node_listen: is null: leave the key out to have its default',
      )
    })
  })

  describe('of ports', () => {
    const listen = (value: string) =>
      load(`apisix: {enable_ipv6: false, node_listen: ${value}}`).config.apisix.nodeListen

    it('takes a port, a list of ports, and addresses', () => {
      assert.deepEqual(listen('80'), [{ ip: undefined, port: 80 }])
      assert.deepEqual(
        listen('[80, 81]'),
        [80, 81].map(port => ({ ip: undefined, port })),
      )
      assert.deepEqual(listen('[{ip: 10.0.0.1, port: 80}, {port: 81}, {ip: "[::1]", port: 82}]'), [
        { ip: '10.0.0.1', port: 80 },
        { ip: undefined, port: 81 },
        { ip: '::1', port: 82 },
      ])
    })

    it('adds IPv6 to ports without an address, unless told not to', () => {
      const hosts = (text: string) => listeners(load(text).config).data.map(({ host }) => host)
      const ports = 'node_listen: [80, {ip: 10.0.0.1, port: 81}]'
      assert.deepEqual(hosts(`apisix: {${ports}}`), ['0.0.0.0', '::', '10.0.0.1'])
      assert.deepEqual(hosts(`apisix: {${ports}, enable_ipv6: false}`), ['0.0.0.0', '10.0.0.1'])
    })

    it('opens no listener for what is switched off', () => {
      const { config } = load(
        'apisix: {enable_admin: false, enable_control: false}\nplugin_attr: {prometheus: {enable_export_server: false}}',
      )
      const { admin, control, prometheus } = listeners(config)
      assert.deepEqual([admin, control, prometheus], [[], [], []])
    })

    it('refuses two servers on one port, and only then', () => {
      assert.equal(
        refusal('apisix:\n  node_listen: 9180\n'),
        'config.yaml: deployment.admin.admin_listen: port 9180 is also that of apisix.node_listen',
      )
      assert.match(
        refusal('apisix: {node_listen: [80, {ip: 10.0.0.1, port: 80}]}'),
        /node_listen\[1\]: port 80 is also that of apisix\.node_listen\[0\]$/,
      )
      load('apisix: {enable_admin: false, node_listen: 9180}')
      load('apisix: {control: {ip: 127.0.0.2, port: 9091}}')
      load('apisix: {control: {port: 0}, status: {port: 0}}')
    })
  })

  describe('with the environment filled in', () => {
    const admin = (key: string) => `deployment: {admin: {admin_key: [{name: a, key: "${key}"}]}}`

    it('makes numbers and booleans of them, unless text is wanted', () => {
      const env = { PORT: '1234', ON: 'false', KEY: '0012', LIMIT: '10m' }
      const { config } = load(
        [
          'apisix: {node_listen: "${{PORT}}", enable_control: "${{ ON }}"}',
          'nginx_config: {http: {client_max_body_size: "${{LIMIT}}"}}',
          admin('${{KEY}}'),
        ].join('\n'),
        env,
      )
      assert.equal(config.apisix.nodeListen[0]!.port, 1234)
      assert.equal(config.apisix.enableControl, false)
      assert.equal(config.nginxConfig.http.clientMaxBodySize, 10 * 1024 * 1024)
      assert.equal(config.deployment.admin.adminKey[0]!.key, '0012')
    })

    it('has secrets that can be used and not printed', () => {
      const { config } = load(`
        sluice: {debug_key: S3CRET-of-sixteen-characters}
        apisix: {data_encryption: {keyring: [S3CRET-of-16-cha]}}
        deployment:
          admin: {admin_key: [{name: a, key: S3CRET-key, role: admin}]}
          etcd: {user: u, password: S3CRET-password}`)
      assert.doesNotMatch(JSON.stringify(config) + inspect(config, { depth: 9 }), /S3CRET/)
      assert.match(JSON.stringify(config.deployment.etcd), /"user":"u","password":"\*\*\*"/)
      assert.equal(config.deployment.etcd.password, 'S3CRET-password')
      assert.deepEqual(config.apisix.dataEncryption.keyring, ['S3CRET-of-16-cha'])
    })

    it('uses the default of a variable that is not set, and not of one that is empty', () => {
      const key = (env: Record<string, string>) =>
        load(admin('a-${{X:=b}}-c'), env).config.deployment.admin.adminKey[0]!.key
      assert.equal(key({}), 'a-b-c')
      assert.equal(key({ X: 'x' }), 'a-x-c')
      assert.equal(key({ X: '' }), 'a--c')
    })

    it('does not convert what is written as text in the file', () => {
      assert.equal(
        refusal('apisix: {node_listen: "80"}'),
        'config.yaml:1: apisix.node_listen: expected a whole number from 0 to 65535, got "80"',
      )
    })

    it('names the variable that is missing, and the line', () => {
      assert.equal(
        refusal(`apisix:\n  node_listen: \${{PORT}}\n`),
        "config.yaml:2: apisix.node_listen: can't find environment variable PORT",
      )
      assert.match(refusal(admin('${{toString}}')), /can't find environment variable toString$/)
    })

    it('does not take an unclosed variable for a key', () => {
      assert.match(refusal(admin('${{ADMIN_KEY}')), /admin_key\[0\]\.key: an environment variable is not closed by }}$/)
    })

    it('leaves keys and comments alone', () => {
      assert.match(refusal('"${{A}}": 1', { A: 'apisix' }), /unknown key$/)
      load('# ${{NOT_SET}}\n')
    })

    it('lets APISIX_WORKER_PROCESSES stand above the file', () => {
      const { config } = load('nginx_config: {worker_processes: 4}', { APISIX_WORKER_PROCESSES: '3' })
      assert.equal(config.nginxConfig.workerProcesses, 3)
      assert.equal(
        refusal('', { APISIX_WORKER_PROCESSES: 'many' }),
        'config.yaml: nginx_config.worker_processes: expected auto or a number from 1 to 256, got the value of APISIX_WORKER_PROCESSES',
      )
    })

    it('reads the file of the profile', () => {
      assert.throws(
        () => loadConfig({ env: { APISIX_PROFILE: 'nowhere' } }),
        /^ConfigError: conf\/config-nowhere\.yaml: /,
      )
    })

    it('fills in what it is given, wherever it stands', () => {
      const word = fc.stringMatching(/^[a-zA-Z0-9_.-]{0,12}$/)
      fc.assert(
        fc.property(word, word, word, (before, value, after) => {
          const { key } = load(admin(`${before}\${{V}}${after}`), { V: value }).config.deployment.admin.adminKey[0]!
          assert.equal(key, before + value + after)
        }),
        { numRuns: 50 },
      )
    })
  })

  describe('of durations and sizes', () => {
    const timeout = (value: string) =>
      load(`nginx_config: {http: {client_header_timeout: ${value}}}`).config.nginxConfig.http.clientHeaderTimeout
    const size = (value: string) =>
      load(`nginx_config: {http: {client_max_body_size: ${value}}}`).config.nginxConfig.http.clientMaxBodySize

    it('reads durations as milliseconds', () => {
      const read = ['1', '1.5', '"90"', '500ms', '60s', '1m30s', '2h', '1d'].map(timeout)
      assert.deepEqual(read, [1000, 1500, 90_000, 500, 60_000, 90_000, 7_200_000, 86_400_000])
    })

    it('reads sizes as bytes', () => {
      assert.deepEqual(['0', '100', '8k', '10m', '1G'].map(size), [0, 100, 8192, 10_485_760, 1_073_741_824])
    })

    it('refuses what is neither', () => {
      for (const wrong of ['soon', '-1', '1x', 'true', '[1]', '0', '25d'])
        assert.throws(() => timeout(wrong), ConfigError)
      for (const wrong of ['-1', '1.5', '1t', 'many', '{}', '99999999g']) assert.throws(() => size(wrong), ConfigError)
    })
  })

  describe('that is wrong', () => {
    const wrong: [what: string, text: string, line: string][] = [
      ['a mistyped key', 'apisix:\n  node_lisen: 1', '2: apisix.node_lisen: unknown key (did you mean node_listen?)'],
      ['a key in the wrong group', 'node_listen: 1', '1: node_listen: unknown key (did you mean apisix.node_listen?)'],
      ['a key nobody knows', 'zebra: 1', '1: zebra: unknown key'],
      [
        'an unknown key of a list item',
        'apisix:\n  node_listen:\n    - port: 1\n      adress: 1',
        '4: apisix.node_listen[0].adress: unknown key',
      ],
      [
        'a mistyped key of a group that is not served',
        'apisix:\n ssl:\n  ssl_cipher: x',
        '3: apisix.ssl.ssl_cipher: unknown key (did you mean ssl_ciphers?)',
      ],
      ['a path written as a key', '"apisix.enable_http2": true', '1: "apisix.enable_http2": unknown key'],
      ['a key of an object', 'toString: 1', '1: toString: unknown key'],
      ['__proto__', '__proto__: {apisix: 1}', '1: __proto__: unknown key'],
      [
        'a key that stands twice',
        'apisix:\n  node_listen: 1\n  node_listen: 2',
        '3: apisix.node_listen: stands here twice (first on line 2)',
      ],
      ['a wrong type', 'apisix: {enable_admin: 1}', '1: apisix.enable_admin: expected true or false, got 1'],
      ['a value for a group', 'apisix: [1]', '1: apisix: expected a group of keys, got a list'],
      [
        'a group for a value',
        'apisix: {proxy_mode: {a: 1}}',
        '1: apisix.proxy_mode: expected http, got a group of keys',
      ],
      [
        'a value for a list',
        'deployment: {admin: {allow_admin: 127.0.0.1}}',
        '1: deployment.admin.allow_admin: expected a list, got text',
      ],
      [
        'a port out of range',
        'apisix: {node_listen: [80, 70000]}',
        '1: apisix.node_listen[1]: expected a whole number from 0 to 65535, got 70000',
      ],
      ['a missing key', 'apisix: {node_listen: [{ip: 127.0.0.1}]}', '1: apisix.node_listen[0].port: is missing'],
      [
        'a host name for an address',
        'apisix: {control: {ip: localhost}}',
        '1: apisix.control.ip: expected an IP address, got "localhost"',
      ],
      [
        'a range that is none',
        'deployment: {admin: {allow_admin: [10.0.0.0/33]}}',
        '1: deployment.admin.allow_admin[0]: expected an IP address or a CIDR range such as 10.0.0.0/8, got "10.0.0.0/33"',
      ],
      [
        'a word that is none of those allowed',
        'nginx_config: {error_log_level: loud}',
        '1: nginx_config.error_log_level: expected one of debug, info, notice, warn, error, crit, alert, emerg, got "loud"',
      ],
      [
        'a syntax error',
        'apisix:\n  a: [1\nb: 2',
        '3: Flow sequence in block collection must be sufficiently indented and end with a ]',
      ],
      ['a tag', 'apisix: !include x', '1: Unresolved tag: !include'],
      ['a second document', 'apisix: {}\n---\napisix: {}', '2: a second document begins here, but one is wanted'],
      ['an alias of nothing', 'apisix: *x', '1: apisix: no anchor &x stands above *x'],
      ['bottomless nesting', '['.repeat(100_000), '1: is nested too deeply'],
      ['a list for a file', '- 1', ' expected a group of keys, got a list'],
      ['too few records', 'sluice: {explain: 1k}', '1: sluice.explain: expected 0, or a size from 64k to 1g'],
      ['a key to be guessed', 'sluice: {debug_key: sesame}', '1: sluice.debug_key: expected at least 16 characters'],
    ]
    for (const [what, text, line] of wrong) {
      it(`says so in one line: ${what}`, () => assert.equal(refusal(text), `config.yaml:${line}`))
    }

    it('says so of a file that cannot be read', () => {
      assert.throws(() => loadConfig({ file: '/nowhere/c.yaml', env: {} }), {
        message: '/nowhere/c.yaml: cannot be read: no such file or directory',
      })
      assert.throws(() => loadConfig({ file: tmpdir(), env: {} }), ConfigError)
      assert.equal(refusal(Buffer.from([0xff, 0xfe, 0x41])), 'config.yaml: is not UTF-8 text')
      assert.equal(refusal(`#${' '.repeat(1 << 20)}`), 'config.yaml: is larger than 1 MiB')
    })

    it('unfolds aliases, up to a bound', () => {
      const { config } = load('apisix: {control: &a {ip: 127.0.0.3}, status: *a}')
      assert.equal(config.apisix.status?.ip, '127.0.0.3')
      const laughs = [
        'a0: &a0 [x]',
        ...Array.from({ length: 9 }, (_, n) => `a${n + 1}: &a${n + 1} [${Array(9).fill(`*a${n}`)}]`),
      ]
      assert.match(refusal(laughs.join('\n')), /more than 100 aliases$/)
      assert.match(refusal('apisix: &x [*x]'), /more than 100 aliases$/)
    })

    it('does not repeat secrets', () => {
      const secret = 'hunter2hunter2'
      const admin = (key: string, env = {}) =>
        refusal(`deployment: {admin: {admin_key: [{name: a, key: ${key}}]}}`, env)
      const messages = [
        admin(`"${secret} with a space"`),
        admin(`[${secret}]`),
        refusal(`apisix: {data_encryption: {keyring: [${secret}]}}`),
        refusal('apisix: {node_listen: "${{KEY}}"}', { KEY: secret }),
        refusal('apisix: {proxy_mode: "${{KEY}}"}', { KEY: secret }),
        refusal('apisix: {control: {ip: "${{KEY}}"}}', { KEY: secret }),
      ]
      for (const message of messages) assert.doesNotMatch(message, /hunter2/)
      assert.match(messages[3]!, /got the value of KEY$/)
    })

    it('is refused with a ConfigError, whatever the file holds', () => {
      const scalar = fc.oneof(fc.string(), fc.integer(), fc.double(), fc.boolean(), fc.constant(null))
      const value = fc.oneof(scalar, fc.array(scalar), fc.dictionary(fc.string(), scalar))
      fc.assert(
        fc.property(fc.constantFrom(...paths(schema)), value, (path, value) => {
          try {
            load(nested(path, JSON.stringify(value)))
          } catch (error) {
            assert.ok(error instanceof ConfigError, String((error as Error).stack))
            assert.doesNotMatch(error.message, /\n/)
          }
        }),
        { numRuns: 300 },
      )
    })
  })

  describe('of the access log', () => {
    const http = (text: string) => load(`nginx_config: {http: {${text}}}`)

    it('takes a file, or off', () => {
      const fileOf = (text: string) => http(text).config.nginxConfig.http.accessLog
      assert.equal(fileOf(''), 'logs/access.log')
      assert.equal(fileOf('access_log: /var/log/a.log'), '/var/log/a.log')
      assert.equal(fileOf('access_log: off'), undefined)
      assert.equal(fileOf('access_log: ""'), undefined)
    })

    it('refuses a server of syslog, and says what is instead', () => {
      const said = refusal('nginx_config: {http: {access_log: "syslog:server=127.0.0.1:514"}}')
      assert.match(said, /access_log: syslog: is not served here: attach the plugin syslog as a global rule$/)
    })

    it('says which variables of its format have no value', () => {
      const { warnings } = http('access_log_format: "$uri $upstream_unresolved_host $arg_a"')
      assert.match(
        warnings.join(),
        /access_log_format asks for \$upstream_unresolved_host, which has no value in Sluice$/,
      )
      assert.deepEqual(http('').warnings, [])
    })
  })

  describe('of metrics', () => {
    const prometheus = (lines: string) => `plugin_attr:\n  prometheus:\n    ${lines.replaceAll('\n', '\n    ')}\n`
    const labels = (list: string) => prometheus(`metrics:\n  http_status:\n    extra_labels: ${list}`)

    it('names labels of families and their variables, and buckets', () => {
      const read = load(
        prometheus(
          'metrics: {bandwidth: {expire: 60, extra_labels: [{who: $remote_addr}]}, llm_latency: null}\ndefault_buckets: [0.5, 1]',
        ),
      )
      assert.deepEqual(read.warnings, [])
      assert.deepEqual(read.config.pluginAttr.prometheus.metrics, {
        bandwidth: { extraLabels: [{ label: 'who', variable: 'remote_addr' }], expireMs: 60_000 },
      })
      assert.deepEqual(read.config.pluginAttr.prometheus.defaultBuckets, [0.5, 1])
      assert.deepEqual(load(prometheus('metrics: null')).config.pluginAttr.prometheus.metrics, {})
    })

    it('is refused where the page would not be what it says', () => {
      const at = 'config.yaml:5: plugin_attr.prometheus.metrics.http_status.extra_labels'
      assert.equal(refusal(labels('[{code: $status}]')), `${at}[0]: the family has a label code already`)
      assert.equal(refusal(labels('[{a: $status}, {a: $host}]')), `${at}[1]: the label a stands here twice`)
      assert.equal(refusal(labels('[{le: $status}]')), `${at}[0]: "le" can be no name of a label`)
      assert.equal(refusal(labels('[{a-b: $status}]')), `${at}[0]: "a-b" can be no name of a label`)
      assert.equal(refusal(labels('[{a: $status, b: $host}]')).startsWith(`${at}[0]: expected one label`), true)
      assert.equal(refusal(labels('[{a: status}]')), `${at}[0].a: expected a variable such as $upstream_addr`)
      assert.equal(
        refusal(labels(`[${Array.from({ length: 21 }, (_, n) => `{l${n}: $host}`)}]`)),
        `${at}: expected at most 20 labels`,
      )
      assert.match(
        refusal(prometheus('metrics: {http_statuses: {}}')),
        /http_statuses: unknown key \(did you mean http_status\?\)$/,
      )
      assert.match(refusal(prometheus('metrics: {http_status: {labels: []}}')), /http_status.labels: unknown key/)
      assert.match(
        refusal(prometheus('metrics: {http_status: {expire: -1}}')),
        /expire: expected a whole number from 0/,
      )
      assert.match(refusal(prometheus('metrics: {http_status: 1}')), /http_status: expected a group of keys$/)
      assert.match(refusal(prometheus('default_buckets: [2, 1]')), /default_buckets: expected ascending bounds$/)
      assert.match(refusal(prometheus('default_buckets: []')), /default_buckets: expected 1 to 100 upper bounds$/)
      assert.match(refusal(prometheus('default_buckets: [a]')), /default_buckets\[0\]: expected a number/)
    })

    it('is warned of where it has no effect', () => {
      assert.match(
        warningsOf(labels('[{a: $geoip2_country}]'))[0]!,
        /asks for \$geoip2_country, which has no value in Sluice$/,
      )
      const idle = prometheus('metrics: {upstream_status: {expire: 60}, ai_cache_hits_total: {expire: 60}}')
      assert.deepEqual(
        warningsOf(idle).map(warning => warning.replace(/^.*metrics\./, '')),
        [
          'upstream_status has no effect in Sluice: its series are there as long as the nodes they tell of are checked',
          'ai_cache_hits_total has no effect in Sluice: the plugin ai-cache is not in this version',
        ],
      )
    })
  })

  describe('with keys of APISIX that Sluice does not act on', () => {
    it('reports each of those without effect once', () => {
      const text =
        'apisix:\n  enable_http2: true\n  ssl:\n    ssl_protocols: TLSv1.3\ndeployment:\n  etcd:\n    host: [http://a]\n'
      assert.deepEqual(warningsOf(text), [
        'config.yaml:2: apisix.enable_http2 has no effect in Sluice: only HTTP/1.1 is spoken in this version',
        'config.yaml:4: apisix.ssl.ssl_protocols has no effect in Sluice: there are no TLS listeners in this version',
        'config.yaml:6: deployment.etcd has no effect in Sluice: the config_provider is another',
      ])
    })

    it('refuses those that would change who is served, by name', () => {
      const refused = [
        'apisix.ssl.listen: [{port: 9443}]',
        'apisix.ssl.enable: true',
        'apisix.proxy_protocol: {listen_http_port: 9181}',
        'apisix.stream_proxy: {tcp: [9100]}',
        'apisix.delete_uri_tail_slash: true',
        'apisix.normalize_uri_like_servlet: true',
        'apisix.match_uri_encoded_slash: true',
        'nginx_config.http_configuration_snippet: x',
        'discovery.consul: {servers: [http://127.0.0.1:8500]}',
        'discovery.dns.order: [A]',
        'discovery.nacos: {}',
      ]
      for (const each of refused) {
        const [path = '', value = ''] = each.split(/: (.*)/)
        assert.ok(
          refusal(nested(path, value)).startsWith(`config.yaml:1: ${path}: is not served in this version: `),
          each,
        )
      }
    })

    it('refuses choices that are not there yet, by name', () => {
      const choices: [path: string, value: string][] = [
        ['apisix.proxy_mode', 'stream'],
        ...['xds'].flatMap((each): [string, string][] => [
          ['deployment.role_traditional.config_provider', each],
          ['deployment.role_data_plane.config_provider', each],
        ]),
        ['deployment.admin.admin_api_version', 'v2'],
      ]
      for (const [path, value] of choices) {
        const line = refusal(nested(path, value))
        assert.ok(line.startsWith(`config.yaml:1: ${path}: "${value}" is not served in this version, only `), line)
      }
    })

    it('says nothing of those that ask for what is so anyway', () => {
      const harmless = [
        'apisix.ssl.enable: false',
        'apisix.ssl: null',
        'apisix.stream_proxy: null',
        'apisix.delete_uri_tail_slash: false',
        'nginx_config.http_configuration_snippet: ""',
      ]
      for (const each of harmless) {
        const [path = '', value = ''] = each.split(/: (.*)/)
        assert.deepEqual(warningsOf(nested(path, value)), [], each)
      }
    })

    it('reports a variable of the environment that has no effect', () => {
      assert.deepEqual(warningsOf('', { APISIX_STAND_ALONE: 'true' }), [
        'the environment variable APISIX_STAND_ALONE has no effect in Sluice: say it in the configuration',
      ])
    })
  })

  describe('with resources in etcd', () => {
    const etcd = (more = '', role = 'traditional') =>
      `deployment: {role: ${role}, role_traditional: {config_provider: etcd}, etcd: {${more}}}`

    it('has the defaults of APISIX', () => {
      const { config, warnings } = load(etcd())
      assert.deepEqual(warnings, [])
      assert.equal(providerOf(config), 'etcd')
      const { tls, user, password, ...rest } = config.deployment.etcd
      assert.deepEqual(rest, {
        host: ['http://127.0.0.1:2379'],
        prefix: '/apisix',
        timeout: 30_000,
        healthCheckTimeout: 10_000,
        startupRetry: 2,
      })
      assert.deepEqual([tls.verify, user, password], [true, undefined, undefined])
    })

    it('takes what the configuration of APISIX says, without a word', () => {
      const text = `host: ["https://etcd-1:2379", "https://[::1]:2379", "http://10.0.0.1"], prefix: /a/b//, timeout: 5,
        watch_timeout: 50, resync_delay: 5, health_check_timeout: 3, startup_retry: 4, user: u, password: 5ecret,
        tls: {cert: /c, key: /k, verify: true, sni: etcd}`
      const { config, warnings } = load(etcd(text.replace('5ecret', '"5ecret"')))
      assert.deepEqual(warnings, [])
      const { prefix, timeout, healthCheckTimeout, password } = config.deployment.etcd
      assert.deepEqual([prefix, timeout, healthCheckTimeout, password], ['/a/b', 5_000, 3_000, '5ecret'])
    })

    it('refuses hosts that are none, half a certificate and an empty prefix', () => {
      for (const host of ['[]', '["127.0.0.1:2379"]', '["ftp://a"]', '["http://a:1/x"]', 'http://a'])
        assert.match(refusal(etcd(`host: ${host}`)), /deployment\.etcd\.host(\[0\])?: expected/)
      assert.match(refusal(etcd('tls: {cert: /c}')), /deployment\.etcd\.tls: cert and key belong together$/)
      for (const prefix of ['/', 'apisix', '""'])
        assert.match(refusal(etcd(`prefix: ${prefix}`)), /prefix: expected a path/)
    })

    it('warns of members that are believed without a certificate', () => {
      assert.match(warningsOf(etcd('tls: {verify: false}'))[0]!, /whoever answers in place of etcd is believed$/)
    })

    it('takes hosts from the environment, above the file', () => {
      const env = { APISIX_DEPLOYMENT_ETCD_HOST: '["http://a:1", "http://b:2"]' }
      assert.deepEqual(load(etcd('host: ["http://c:3"]'), env).config.deployment.etcd.host, [
        'http://a:1',
        'http://b:2',
      ])
      const wrong = { APISIX_DEPLOYMENT_ETCD_HOST: 'http://a:1' }
      assert.throws(() => load(etcd(), wrong), /APISIX_DEPLOYMENT_ETCD_HOST is not a JSON list of URLs$/)
    })

    it('says where resources are, and which servers there are, by role', () => {
      const servers = (role: string) => {
        const { config } = load(etcd('', role))
        const open = Object.entries(listeners(config)).filter(([, addresses]) => addresses.length > 0)
        return [providerOf(config), open.map(([name]) => name)]
      }
      assert.deepEqual(servers('traditional'), ['etcd', ['data', 'admin', 'control', 'status', 'prometheus']])
      assert.deepEqual(servers('control_plane'), ['etcd', ['admin', 'control', 'status', 'prometheus']])
      assert.deepEqual(servers('data_plane'), ['etcd', ['data', 'control', 'status', 'prometheus']])
    })

    it('says where a document is that holds all resources, and who may change it', () => {
      const of = (deployment: string, env: Record<string, string> = {}) => {
        const { config, document } = load(`deployment: {${deployment}}`, env)
        return [standaloneOf(config), document.file]
      }
      const yaml = 'role_traditional: {config_provider: yaml}'
      const dataPlane = (provider: string) => `role: data_plane, role_data_plane: {config_provider: ${provider}}`
      assert.equal(of('')[0], undefined)
      assert.equal(of('role: data_plane')[0], undefined)
      assert.deepEqual(of(yaml), ['api', 'conf/apisix.yaml'])
      assert.deepEqual(of(dataPlane('yaml'), { APISIX_PROFILE: 'x' }), ['file', 'conf/apisix-x.yaml'])
      assert.deepEqual(of(dataPlane('json')), ['file', 'conf/apisix.json'])
      assert.deepEqual(of(`${dataPlane('json')}, standalone: {path: /a.json}`), ['file', '/a.json'])
      const { config } = load(`apisix: {enable_admin: false}\ndeployment: {${yaml}}`)
      assert.equal(standaloneOf(config), 'file')
      assert.match(
        refusal('deployment: {role_traditional: {config_provider: json}}'),
        /apisix\.enable_admin: must be false with the config_provider json: resources come from a file/,
      )
    })
  })

  describe('of secrets', () => {
    const admin = (keys: string, more = '') => `deployment: {admin: {admin_key: ${keys}${more}}}`

    it('refuses the keys that APISIX publishes', () => {
      for (const key of ['edd1c9f034335f136f87ad84b625c8f1', '4054f7cf07e344346cd3f287985e76a2']) {
        const line = refusal(admin(`[{name: a, key: ${key}}]`))
        assert.match(
          line,
          /^config\.yaml:1: deployment\.admin\.admin_key\[0\]\.key: is a default that APISIX publishes/,
        )
        assert.ok(!line.includes(key))
      }
      for (const key of ['qeddd145sfvddff3', 'edd1c9f0985e76a2']) {
        const keyring = (...keys: string[]) => `apisix: {data_encryption: {keyring: [${keys.join(', ')}]}}`
        assert.match(refusal(keyring(key)), /keyring: the first key, which encrypts, is a default that APISIX/)
        // What APISIX has written with it can be read.
        assert.match(warningsOf(keyring('k'.repeat(32), key))[0]!, /keyring\[1\] is a default that APISIX publishes/)
      }
    })

    it('takes keyring keys of 16 and of 32 characters only', () => {
      const keyring = (...sizes: number[]) =>
        `apisix: {data_encryption: {keyring: [${sizes.map(size => 'k'.repeat(size)).join(', ')}]}}`
      assert.equal(load(keyring(16, 32)).config.apisix.dataEncryption.keyring?.length, 2)
      assert.match(refusal(keyring(16, 24)), /keyring\[1\]: expected 16 or 32 ASCII characters without spaces$/)
      assert.match(refusal(keyring()), /keyring: expected at least one key$/)
    })

    it('leaves at most one admin key to be made, and never a viewer key', () => {
      load(admin('[{name: a, key: ""}, {name: v, key: secret, role: viewer}]'))
      assert.match(refusal(admin('[{name: a}, {name: b}]')), /only one key can be left empty/)
      assert.match(refusal(admin('[{name: v, role: viewer}]')), /only a key of role admin can be left empty$/)
      assert.match(refusal(admin('[{name: a, key: x}, {name: a, key: y}]')), /the name a stands here twice$/)
    })

    it('refuses TLS without certificates, and certificates without TLS', () => {
      const tls = (text: string) => `deployment: {admin: ${text}}`
      const pair = 'admin_ssl_cert: a.crt, admin_ssl_cert_key: a.key'
      for (const text of ['{https_admin: true}', '{https_admin: true, admin_api_mtls: {admin_ssl_cert: a.crt}}']) {
        assert.match(refusal(tls(text)), /https_admin: needs admin_ssl_cert and admin_ssl_cert_key in admin_api_mtls$/)
      }
      for (const files of [pair, 'admin_ssl_ca_cert: ca.crt']) {
        const said = /admin_api_mtls: the admin API speaks plain HTTP unless https_admin is true$/
        assert.match(refusal(tls(`{admin_api_mtls: {${files}}}`)), said)
      }
      const { admin } = load(tls(`{https_admin: true, admin_api_mtls: {${pair}}}`)).config.deployment
      const files = { adminSslCert: 'a.crt', adminSslCertKey: 'a.key', adminSslCaCert: '' }
      assert.deepEqual([admin.httpsAdmin, admin.adminApiMtls], [true, files])
    })

    it('refuses an admin API that nobody could use, and warns of one that everybody can', () => {
      for (const none of ['[]', 'null']) assert.match(refusal(admin(none)), /admin_key: holds no key: add one/)
      assert.deepEqual(warningsOf(admin('[]', ', admin_key_required: false')), [
        'config.yaml:1: deployment.admin.admin_key_required is false: whoever reaches the admin API may change everything',
      ])
    })
  })
})
