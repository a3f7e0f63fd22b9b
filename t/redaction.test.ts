// Secrets planted wherever a gateway gets any, and looked for in everything that comes out of it: a real process, at every level.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { type Collector, startCollector } from './helpers/collector.ts'
import { Plants } from './helpers/plants.ts'
import { configFolder, type GatewayProcess, run, startProcess } from './helpers/process.ts'
import { connectRaw } from './helpers/raw-client.ts'
import { pem } from './helpers/samples.ts'
import { until } from './helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'
import { type FakeVault, startVault } from './helpers/vault.ts'

const plants = new Plants()
const secret = (name: string, plain = false) => plants.secret(name, plain)

const debugKey = secret('debug key', true)

/** Fields in which clients send credentials, and what else in a request is one. */
const fields = {
  authorization: `Bearer ${secret('Authorization')}`,
  'proxy-authorization': `Basic ${Buffer.from(`user:${secret('Proxy-Authorization')}`).toString('base64')}`,
  cookie: `theme=dark; session=${secret('Cookie', true)}`,
  'x-api-key': secret('X-API-Key'),
  'api-key': secret('api-key'),
  'x-goog-api-key': secret('X-Goog-Api-Key'),
  'x-amz-security-token': secret('X-Amz-Security-Token'),
  'x-auth-token': secret('X-Auth-Token'),
  'x-request-id': 'request-0',
  'x-sluice-debug': debugKey,
  referer: `https://other.test/?a=1&access_token=${secret('token in a referer', true)}`,
}
const query = new URLSearchParams({
  a: '1',
  apikey: secret('?apikey'),
  api_key: secret('?api_key'),
  access_token: secret('?access_token'),
  token: secret('?token'),
  password: secret('?password'),
  client_secret: secret('?client_secret'),
}).toString()
const bodySecret = secret('request body')
const answerSecret = secret('response body')
const teamKey = secret('key-auth of jack')
const wrongKey = secret('a wrong key')
const credentialKey = secret('credential of jack', true)
const vaultKey = secret('member of a Vault secret')
const rewriteKey = secret('key of ai-request-rewrite', true)
const ragKeys = [secret('key of embeddings', true), secret('key of a search', true)] as const
const aliyunSecret = secret('secret of Aliyun', true)
const comprehendSecret = secret('secret of Comprehend', true)
const comprehendToken = secret('session token of Comprehend', true)
const etcdPassword = secret('etcd password', true)
const namedSecret = secret('header that a plugin sets', true)
const probeSecret = secret('header of a probe', true)
const lakeraKey = secret('key of Lakera Guard', true)
const llmKey = secret('LLM key', true)
const llmQuery = secret('LLM key in the query', true)
const secondKey = secret('LLM key of an instance', true)
const awsSecret = secret('AWS secret key', true)
const redisPassword = secret('Redis password')
const sinkAuth = secret('auth_header of http-logger')
const lokiToken = secret('header of loki-logger')
const elasticPassword = secret('password of elasticsearch-logger')
const clickhousePassword = secret('password of clickhouse-logger')
const collectorToken = secret('header for the collector')
const vaultToken = secret('Vault token')
const envValue = secret('variable of the environment')
const viewerKey = secret('admin key of a viewer', true)
const keyringKey = secret('key of the keyring', true).slice(0, 32)

// Twelve characters of a line in the midst of it are enough.
for (const name of ['client-key', 'self-signed-key']) plants.known(name, pem(name).split('\n')[2]!.slice(0, 24))

/** Every variable that could bring one into a line. */
const variables = [
  'request',
  'request_uri',
  'args',
  'query_string',
  'http_authorization',
  'http_proxy_authorization',
  'http_cookie',
  'cookie_session',
  'http_x_api_key',
  'http_x_team_key',
  'http_x_amz_security_token',
  'http_x_auth_token',
  'http_referer',
  'arg_apikey',
  'arg_token',
  'arg_team_key',
  'arg_password',
  'remote_user',
  'upstream_uri',
  'sent_http_set_cookie',
  'sent_http_location',
  'sent_http_x_auth_token',
  'llm_model',
  'request_llm_model',
  'consumer_name',
]

const config = `sluice:
  debug_key: ${debugKey}
  worker_heap_mb: 256
`

/** A Redis that quotes what it does not understand, as Redis does, and understands nothing. */
async function startQuotingRedis(): Promise<Server> {
  const server = createServer(socket => {
    socket.on('error', () => {})
    socket.setEncoding('utf8').on('data', text => {
      const [words] = [text.toString().replaceAll('\r\n', ' ')]
      socket.write(`-ERR unknown command, with args beginning with: ${words}\r\n`)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

describe('no secret', function () {
  this.timeout(180_000)
  let gateway: GatewayProcess
  let upstream: ScriptedUpstream
  let provider: ScriptedUpstream
  let sink: ScriptedUpstream
  let collector: Collector
  let vault: FakeVault
  let redisServer: Server
  /** What clients were told by the gateway itself, and what it passed on of what LLM providers said of an error. */
  const told: string[] = []
  const relayed: string[] = []
  /** Answers of the admin API to a viewer, and of every other server, by path. */
  const shown = new Map<string, string>()

  before(async () => {
    ;[upstream, provider, sink, collector, vault, redisServer] = await Promise.all([
      startUpstream(answer),
      startUpstream(provide),
      startUpstream(),
      startCollector(),
      startVault(),
      startQuotingRedis(),
    ])
    vault.token = vaultToken
    vault.secrets.set('kv/jack', { key: vaultKey })
    const within = {
      apisix: `data_encryption: {keyring: ['${keyringKey}'], format: v2}`,
      nginx_config: 'error_log_level: debug',
      deployment: '',
    }
    const folder = configFolder(config, within)
    const format = variables.map(name => `$${name}`).join(' ')
    const text = readFileSync(folder.file, 'utf8')
      .replace(/( *)http: \{access_log: (.*)\}/, `$1http: {access_log: $2, access_log_format: '${format}'}`)
      .replace(
        /( *)admin_listen:/,
        `$1admin_key: [{name: admin, key: "", role: admin}, {name: v, key: ${viewerKey}, role: viewer}]\n$1admin_listen:`,
      )
      .replace(
        /( *)export_addr: (.*)/,
        `$1export_addr: $2\n$1metrics: {http_status: {extra_labels: [{auth: $http_authorization}, {args: $args}, {team: $http_x_team_key}]}}`,
      )
    writeFileSync(folder.file, text)
    gateway = await startProcess(folder, undefined, {
      APISIX_WORKER_PROCESSES: '1',
      A_SECRET: envValue,
      A_VAULT_TOKEN: vaultToken,
    })
    await configure()
    await exercise()
    await look()
    await gateway.stop()
  })
  after(async () => {
    await gateway.dispose()
    redisServer.close()
    await Promise.all([upstream, provider, sink, collector, vault].map(server => server.close()))
  })

  /** A plain upstream: it answers with secrets of its own, breaks, or repeats what it was sent. */
  async function answer(received: Received): Promise<void> {
    if (received.target.startsWith('/plain/reset')) return received.reset()
    if (received.target.startsWith('/plain/lie')) return received.lie(`HTTP/1.1 ${answerSecret}\r\n\r\n`)
    const status = received.target.startsWith('/plain/500') ? 500 : 200
    received.json(
      status,
      { error: answerSecret, echo: received.headers },
      {
        'set-cookie': `session=${secret('Set-Cookie', true)}; HttpOnly`,
        'x-auth-token': secret('X-Auth-Token of an answer'),
        location: `https://other.test/?code=1&access_token=${secret('token in a location', true)}`,
      },
    )
  }

  /** An LLM provider that is as careless: errors quote the key that they were sent. */
  async function provide(received: Received): Promise<void> {
    await received.body
    const key = received.headers.authorization ?? String(received.headers['api-key'])
    const error = { error: { message: `Incorrect API key provided: ${key}, ${received.target}`, code: answerSecret } }
    const [, kind = ''] = /[?&]kind=(\w+)/.exec(received.target) ?? []
    if (kind === 'reset') return received.reset()
    if (kind === 'stream') {
      received.startStream()
      await received.event({ choices: [{ index: 0, delta: { content: answerSecret }, finish_reason: null }] })
      await received.event(error)
      return received.cut()
    }
    if (kind === 'ok') {
      const choices = [{ index: 0, message: { role: 'assistant', content: answerSecret }, finish_reason: 'stop' }]
      return received.json(200, { id: 'x', model: 'm', choices, usage: { prompt_tokens: 1, completion_tokens: 1 } })
    }
    received.json(401, error, { 'www-authenticate': key, 'openai-organization': 'o' })
  }

  async function put(path: string, value: object): Promise<void> {
    const { status, body } = await gateway.admin('PUT', path, value)
    assert.ok(status === 200 || status === 201, `${path}: ${status} ${JSON.stringify(body)}`)
  }

  async function configure(): Promise<void> {
    const to = (more: object = {}) => ({ upstream: { type: 'roundrobin', nodes: upstream.nodes, retries: 0, ...more } })
    const here = `http://127.0.0.1:${sink.port}`
    const soon = { inactive_timeout: 1, batch_max_size: 1 }
    const logFormat = Object.fromEntries(variables.map(name => [name, `$${name}`]))
    await put('/secrets/vault/main', { uri: vault.uri, prefix: 'kv', token: '$env://A_VAULT_TOKEN' })
    await put('/secrets/vault/clear', { uri: vault.uri, prefix: 'kv', token: vaultToken })
    await put('/consumers', { username: 'jack', plugins: { 'key-auth': { key: teamKey } } })
    await put('/consumers/jack/credentials/c', { plugins: { 'key-auth': { key: credentialKey } } })
    await put('/consumers', { username: 'rose', plugins: { 'key-auth': { key: '$secret://vault/main/jack/key' } } })
    await put('/ssls/1', { snis: ['a.test'], cert: pem('self-signed'), key: pem('self-signed-key') })
    const tls = { client_cert: pem('client'), client_key: pem('client-key') }
    await put('/upstreams/tls', { type: 'roundrobin', scheme: 'https', nodes: upstream.nodes, retries: 0, tls })
    await put('/plugin_metadata/opentelemetry', {
      collector: { address: `127.0.0.1:${collector.port}`, request_headers: { Authorization: collectorToken } },
      batch_span_processor: { inactive_timeout: 0.05 },
      set_ngx_var: true,
    })
    await put('/global_rules/1', {
      plugins: {
        prometheus: {},
        'request-id': {},
        opentelemetry: {
          sampler: { name: 'always_on' },
          additional_attributes: variables,
          additional_header_prefix_attributes: ['x-*', 'authorization', 'cookie', 'proxy-*', 'api-*', 'referer'],
        },
        'file-logger': { path: join(gateway.folder, 'entries.log') },
        'http-logger': { uri: `${here}/entries`, auth_header: sinkAuth, log_format: logFormat, ...soon },
        'loki-logger': {
          endpoint_addrs: [here],
          headers: { 'X-Token': lokiToken },
          log_labels: { q: '$args' },
          ...soon,
        },
        'elasticsearch-logger': {
          endpoint_addr: 'http://127.0.0.1:1',
          field: { index: 'i' },
          auth: { username: 'u', password: elasticPassword },
          ...soon,
        },
        'clickhouse-logger': {
          endpoint_addr: 'http://127.0.0.1:1',
          user: 'u',
          password: clickhousePassword,
          database: 'd',
          logtable: 't',
          ...soon,
        },
      },
    })
    await put('/routes/named', {
      uri: '/named',
      plugins: {
        'proxy-rewrite': { headers: { set: { Authorization: `Basic ${namedSecret}`, 'X-Api-Key': namedSecret } } },
        'response-rewrite': { headers: { add: [`Set-Cookie: s=${namedSecret}`] } },
      },
      ...to({ checks: { active: { http_path: '/', req_headers: [`Authorization: ${probeSecret}`] } } }),
    })
    const keyAuth = { 'key-auth': { header: 'X-Team-Key', query: 'team_key' } }
    await put('/routes/plain', { uri: '/plain/*', plugins: keyAuth, ...to() })
    await put('/routes/tls', { uri: '/tls', upstream_id: 'tls' })
    await put('/routes/gone', { uri: '/gone', upstream: { type: 'roundrobin', nodes: { '127.0.0.1:1': 1 } } })
    const redis = { redis_host: '127.0.0.1', redis_port: 1, redis_password: redisPassword, redis_timeout: 50 }
    await put('/routes/redis', {
      uri: '/redis',
      plugins: { 'limit-count': { count: 1, time_window: 60, policy: 'redis', ...redis } },
      ...to(),
    })
    const auth = { header: { Authorization: `Bearer ${llmKey}` }, query: { key: llmQuery } }
    const instance = { provider: 'openai-compatible', auth, override: { endpoint: provider.origin } }
    for (const kind of ['refused', 'reset', 'stream', 'ok']) {
      const query = { ...auth.query, kind }
      await put(`/routes/llm-${kind}`, {
        uri: `/llm/${kind}`,
        plugins: { 'ai-proxy': { ...instance, auth: { ...auth, query }, logging: { summaries: true } } },
      })
    }
    await put('/routes/multi', {
      uri: '/multi',
      plugins: {
        'ai-proxy-multi': {
          fallback_strategy: ['http_429', 'http_5xx'],
          logging: { summaries: true },
          instances: [
            { ...instance, name: 'a', weight: 1, priority: 1, override: { endpoint: 'http://127.0.0.1:1' } },
            { ...instance, name: 'b', weight: 1, auth: { header: { Authorization: `Bearer ${secondKey}` } } },
          ],
        },
      },
    })
    await put('/routes/aws', {
      uri: '/aws',
      plugins: {
        'ai-proxy': {
          provider: 'bedrock',
          provider_conf: { region: 'r' },
          auth: {
            aws: {
              access_key_id: 'AKIA',
              secret_access_key: awsSecret,
              session_token: secret('AWS session token', true),
            },
          },
          override: { endpoint: 'http://127.0.0.1:1' },
          options: { model: 'm' },
        },
      },
    })
    const service = (api_key: string) => ({ endpoint: provider.origin, api_key })
    for (const [id, plugins] of Object.entries({
      rewrite: {
        'ai-request-rewrite': { ...instance, auth: { header: { Authorization: `Bearer ${rewriteKey}` } }, prompt: 'p' },
      },
      rag: {
        'ai-rag': {
          embeddings_provider: { azure_openai: service(ragKeys[0]) },
          vector_search_provider: { azure_ai_search: service(ragKeys[1]) },
        },
      },
      aliyun: {
        'ai-aliyun-content-moderation': {
          endpoint: provider.origin,
          region_id: 'cn-shanghai',
          access_key_id: 'a',
          access_key_secret: aliyunSecret,
        },
      },
      comprehend: {
        'ai-aws-content-moderation': {
          comprehend: {
            endpoint: provider.origin,
            region: 'us-east-1',
            access_key_id: 'a',
            secret_access_key: comprehendSecret,
            session_token: comprehendToken,
          },
        },
      },
      lakera: { 'ai-lakera-guard': { api_key: lakeraKey, lakera_endpoint: `${provider.origin}/guard` } },
    }))
      await put(`/routes/${id}`, { uri: `/beside/${id}`, plugins: { 'ai-proxy': instance, ...plugins }, ...to() })
    const { port } = redisServer.address() as AddressInfo
    await put('/routes/quoted', {
      uri: '/quoted',
      plugins: {
        'limit-count': { count: 1, time_window: 60, policy: 'redis', ...redis, redis_port: port, redis_timeout: 500 },
      },
      ...to(),
    })
    await put('/routes/env', {
      uri: '/env',
      plugins: {
        'ai-proxy': { ...instance, auth: { header: { 'X-Key': '$env://A_SECRET', 'X-None': '$env://A_SECRET/none' } } },
      },
    })
    await until(async () => (await ask('/env')).status === 503, 'what was put last is served')
  }

  let asked = 0
  async function ask(path: string, more: RequestInit = {}): Promise<Response> {
    fields['x-request-id'] = `request-${++asked}`
    return await fetch(`${gateway.urls.requests}${path}?${query}`, { ...more, headers: { ...fields, ...more.headers } })
  }

  async function exercise(): Promise<void> {
    const post = (body: string, headers: Record<string, string> = {}) => ({
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json', ...headers },
    })
    const keep = async (response: Response, kept = told) =>
      kept.push(await response.text().catch(() => ''), JSON.stringify([...response.headers]))
    const drop = async (response: Response) => void (await response.arrayBuffer().catch(() => {}))
    const key = { 'x-team-key': teamKey }
    await drop(await ask('/plain/ok', post(bodySecret, key)))
    await drop(await ask('/plain/ok', { headers: { 'x-team-key': credentialKey } }))
    await drop(await ask('/plain/ok', { headers: { 'x-team-key': vaultKey } }))
    await drop(
      await fetch(`${gateway.urls.requests}/plain/ok?team_key=${encodeURIComponent(teamKey)}`, { headers: fields }),
    )
    await drop(await ask('/plain/500', { headers: key }))
    await keep(await ask('/plain/ok', { headers: { 'x-team-key': wrongKey } }))
    for (const path of ['/plain/reset', '/plain/lie']) await keep(await ask(path, { headers: key }))
    for (const path of ['/tls', '/gone', '/nowhere', '/redis', '/quoted', '/env'])
      await keep(await ask(path, post(bodySecret, key)))
    const chat = (content: string, more: object = {}) =>
      JSON.stringify({ model: 'm', messages: [{ role: 'user', content }], ...more })
    await drop(await ask('/llm/ok', post(chat(bodySecret))))
    for (const path of ['/llm/reset', '/aws']) await keep(await ask(path, post(chat(bodySecret))))
    const rag = { ai_rag: { embeddings: { input: bodySecret }, vector_search: { fields: 'f' } } }
    for (const path of ['rewrite', 'rag', 'lakera', 'aliyun', 'comprehend'])
      await keep(await ask(`/beside/${path}`, post(chat(bodySecret, rag))), relayed)
    for (const path of ['/llm/refused', '/multi']) await keep(await ask(path, post(chat(bodySecret))), relayed)
    await keep(await ask('/llm/stream', post(chat(bodySecret, { stream: true }))), relayed)
    await drop(await ask('/llm/ok', post(`{"messages": ${bodySecret}`)))
    await drop(await ask('/llm/ok', post(chat(bodySecret), { 'content-type': 'text/plain' })))
    const raw = await connectRaw(Number(new URL(gateway.urls.requests).port))
    raw.write(
      `GET /plain/ok HTTP/1.1\r\nHost: a\r\nAuthorization: ${fields.authorization}\r\nBad Header ${bodySecret}\r\n\r\n`,
    )
    await until(() => raw.closed, 'what is no request is answered')
    told.push(raw.received)
    // What an admin writes that cannot be served: the answer may quote nothing of it.
    for (const [path, value] of [
      [
        '/routes/bad',
        {
          uri: '/x',
          plugins: { 'ai-proxy': { provider: 'openai', auth: { header: { Authorization: `${llmKey}\n` } } } },
        },
      ],
      [
        '/routes/bad',
        { uri: '/x', plugins: { 'ai-proxy': { provider: 'openai', auth: { gcp: { service_account_json: llmKey } } } } },
      ],
      [
        '/routes/bad',
        { uri: '/x', plugins: { 'http-logger': { uri: `http://u:${sinkAuth}@h/`, auth_header: `${sinkAuth}\n` } } },
      ],
      ['/consumers', { username: 'x', plugins: { 'key-auth': { key: { is: teamKey } } } }],
      ['/ssls/2', { snis: ['a'], cert: pem('self-signed'), key: `${pem('client-key')}x` }],
      ['/upstreams/bad', { nodes: {}, tls: { client_cert: pem('client'), client_key: pem('self-signed-key') } }],
      ['/secrets/vault/bad', { uri: 'nowhere', prefix: 'x', token: vaultToken }],
      ['/plugin_metadata/opentelemetry', { collector: { address: `u:${collectorToken}@h` } }],
      ['/plugin_metadata/opentelemetry', { collector: { request_headers: { 'bad name': collectorToken } } }],
    ] as const) {
      const { status, body } = await gateway.admin('PUT', path, value)
      assert.equal(status, 400, `${path} is refused: ${JSON.stringify(body)}`)
      told.push(JSON.stringify(body))
    }
    vault.fault = 500
    await until(() => sink.received.length >= 20, 'sinks have been told')
  }

  /** Everything that can be read by somebody who is no admin. */
  async function look(): Promise<void> {
    const read = async (url: string, headers: Record<string, string> = {}, more: RequestInit = {}) => {
      const response = await fetch(url, { headers, ...more })
      shown.set(
        `${response.status} ${url} ${shown.size}`,
        (await response.text()) + JSON.stringify([...response.headers]),
      )
    }
    const collections = [
      'routes',
      'services',
      'upstreams',
      'consumers',
      'consumers/jack/credentials',
      'ssls',
      'global_rules',
    ]
    const more = [
      'plugin_configs',
      'consumer_groups',
      'secrets',
      'plugin_metadata/opentelemetry',
      'routes/llm-ok',
      'upstreams/tls',
    ]
    for (const path of [
      ...collections,
      ...more,
      'ssls/1',
      'secrets/vault/clear',
      'consumers/jack',
      'configs',
      'plugins/list',
    ])
      await read(`${gateway.urls.admin}/apisix/admin/${path}`, { 'x-api-key': viewerKey })
    await read(`${gateway.urls.admin}/apisix/admin/routes`, { 'x-api-key': wrongKey })
    for (const path of [
      'schema',
      'config/status',
      'routes',
      'services',
      'upstreams',
      'upstream/tls',
      'route/llm-ok',
      'plugin_metadatas',
      'healthcheck',
    ])
      await read(`${gateway.urls.control}/v1/${path}`)
    for (const path of ['/plain/ok', '/llm/ok', '/multi', '/beside/rag', '/aws', '/tls', '/nowhere', '/quoted']) {
      const question = {
        method: 'POST',
        uri: `${path}?${query}`,
        host: 'a',
        headers: fields,
        consumer: 'jack',
        body: bodySecret,
      }
      await read(`${gateway.urls.control}/v1/explain`, {}, { method: 'POST', body: JSON.stringify(question) })
    }
    for (let id = 1; id <= asked; id++) await read(`${gateway.urls.control}/v1/explain/request-${id}`)
    for (const path of ['status', 'status/ready']) await read(`${gateway.urls.status}/${path}`)
    await read(`${gateway.urls.prometheus}/apisix/prometheus/metrics`)
  }

  const file = (name: string) => readFileSync(join(gateway.folder, name), 'utf8')
  const bodiesOf = async ({ received }: Pick<ScriptedUpstream, 'received'>) =>
    (await Promise.all(received.map(({ body }) => body.catch(() => '')))).join('\n')

  it('is in the error log, at whatever level, nor on the console', () => {
    const log = file('error.log')
    assert.match(log, /upstream_reset/)
    assert.deepEqual(plants.foundIn(log), [])
    assert.deepEqual(plants.foundIn(gateway.output.stdout + gateway.output.stderr), [])
  })

  it('is in the access log, whatever its format asks for', () => {
    const log = file('requests.log')
    assert.ok(log.split('\n').length > 20)
    assert.deepEqual(plants.foundIn(log), [])
  })

  it('is in the entries of loggers, whatever their format asks for', async () => {
    assert.match(file('entries.log'), /"url":/)
    assert.deepEqual(plants.foundIn(file('entries.log')), [])
    const sent = await bodiesOf(sink)
    assert.match(sent, /http_authorization/)
    assert.deepEqual(plants.foundIn(sent), [])
  })

  it('is in traces, whatever attributes they are to have', async () => {
    const sent = await bodiesOf(collector)
    assert.match(sent, /http_authorization/)
    assert.deepEqual(plants.foundIn(sent), [])
    assert.ok(collector.received.every(({ headers }) => headers.authorization === collectorToken))
  })

  it('is on the page of metrics, whatever labels it is to have', () => {
    const [page] = [...shown].filter(([url]) => url.includes('prometheus')).map(([, text]) => text)
    assert.match(page!, /auth="/)
    assert.deepEqual(plants.foundIn(page!), [])
  })

  it('is shown to a viewer, or by the control API, or by the status server', () => {
    for (const [url, text] of shown) assert.deepEqual([url, plants.foundIn(text)], [url, []])
    assert.ok([...shown.keys()].filter(url => url.startsWith('200')).length > 20)
    assert.equal([...shown.keys()].filter(url => /^200 .*\/v1\/explain \d+$/.test(url)).length, 8)
    assert.match([...shown].map(([url, text]) => (url.includes('/v1/explain/') ? text : '')).join(), /"steps"/)
  })

  it('is in errors of ours, or in what those are told who may see more of them', () => {
    assert.ok(told.some(text => text.includes('x-sluice-trace')))
    for (const text of told) assert.deepEqual(plants.foundIn(text), [], text)
  })

  it("is in errors of an LLM provider's that are passed on, where it is the operator's", () => {
    assert.ok(relayed.filter(text => text.includes('Incorrect API key provided')).length >= 4)
    for (const text of relayed)
      assert.deepEqual(
        plants.foundIn(text).filter(name => name !== 'response body'),
        [],
        text,
      )
  })

  it('is told by a gateway that cannot reach its store', async () => {
    const more = `role_traditional: {config_provider: etcd}
  etcd: {host: ['http://127.0.0.1:1'], user: root, password: ${etcdPassword}, startup_retry: 1}`
    const { folder, file: configFile } = configFolder('', { deployment: more, nginx_config: 'error_log_level: debug' })
    const { stdout, stderr, code } = await run(['--config', configFile])
    const log = existsSync(join(folder, 'error.log')) ? readFileSync(join(folder, 'error.log'), 'utf8') : ''
    assert.notEqual(code, 0)
    assert.match(stdout + stderr + log, /etcd/)
    assert.deepEqual(plants.foundIn(stdout + stderr + log), [])
    rmSync(folder, { recursive: true })
  })

  it('is written down in clear by the store', () => {
    const data = join(gateway.folder, 'data')
    for (const name of readdirSync(data, { recursive: true, encoding: 'utf8' })) {
      if (name.endsWith('.key') || name.includes('keyring')) continue
      let text = ''
      try {
        text = readFileSync(join(data, name), 'latin1')
      } catch {}
      // What opens a Vault stands there as APISIX reads it, and what nobody names as a secret as it is (docs/secrets.md).
      const inClear = ['Vault token', 'header that a plugin sets', 'header of a probe']
      const found = plants.foundIn(text).filter(name => !inClear.includes(name))
      assert.deepEqual([name, found], [name, []])
    }
  })
})
