// Loggers as their sinks see them: what arrives on the wire, and that no sink, however bad, is noticed by a client.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { silent } from '../core/observe/log.ts'
import { builtins } from '../plugins/index.ts'
import { startGateway, type TestGateway } from './helpers/gateway.ts'
import { type DatagramSink, type StreamSink, startDatagramSink, startStreamSink } from './helpers/log-sinks.ts'
import { startProcess } from './helpers/process.ts'
import { until } from './helpers/until.ts'
import { type Received, type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

interface Entry {
  request: { uri: string; method: string; headers: Record<string, string> }
  response: { status: number }
  route_id: string
}

const SECRETS = ['auth-s3cret', 'password-s3cret', 'header-s3cret', 'client-s3cret']
/** A batch is sent when it is full, however slow the machine is. */
const patient = { inactive_timeout: 3_600, buffer_duration: 3_600 }
const pem = (name: string) => readFileSync(join(import.meta.dirname, 'fixtures/tls', name), 'utf8')

describe('a logger', () => {
  let upstream: ScriptedUpstream
  let http: ScriptedUpstream
  let tcp: StreamSink
  let tls: StreamSink
  let udp: DatagramSink
  let gateway: TestGateway
  let said: string

  beforeEach(async () => {
    said = ''
    const note = (fields: object, message: string) => {
      said += `${JSON.stringify(fields)} ${message}\n`
    }
    const made = await Promise.all([
      startUpstream(),
      startUpstream(),
      startStreamSink(),
      startStreamSink({ cert: pem('self-signed.pem'), key: pem('self-signed-key.pem') }),
      startDatagramSink(),
      startGateway({ log: { ...silent, info: note, warn: note, error: note } }),
    ])
    ;[upstream, http, tcp, tls, udp, gateway] = made
  })
  afterEach(async () => {
    // A sink that hangs on purpose must not hold the gateway's end up.
    await Promise.all([http.close(), tcp.close(), tls.close(), udp.close()])
    await gateway.close()
    await upstream.close()
  })

  async function configure(name: string, config: object, metadata?: Record<string, unknown>): Promise<void> {
    await gateway.put({
      routes: {
        1: {
          uri: '/*',
          plugins: { [name]: { ...patient, ...config } },
          upstream: { type: 'roundrobin', nodes: upstream.nodes },
        },
      },
      ...(metadata && { plugin_metadata: { [name]: metadata } }),
    })
    assert.deepEqual(gateway.rejected, [])
  }

  async function ask(...targets: string[]): Promise<void> {
    for (const target of targets) {
      const answer = await fetch(gateway.url + target, { headers: { authorization: 'Bearer client-s3cret' } })
      assert.equal(answer.status, 200)
      await answer.arrayBuffer()
    }
  }

  const posted = async (n = 0): Promise<{ received: Received; body: string }> => {
    await until(() => http.received.length > n, `batch ${n} at the sink`)
    return { received: http.received[n]!, body: (await http.received[n]!.body).toString() }
  }
  const uris = (entries: Entry[]) => entries.map(({ request }) => request.uri)
  const parsed = (lines: string) =>
    lines
      .split('\n')
      .filter(Boolean)
      .map(line => JSON.parse(line) as Entry)

  /** What each plugin is configured with, and how its sink reads what has come; two entries make a batch. */
  const kinds: Record<string, { config: () => object; read: () => Promise<Entry[]> }> = {
    'http-logger': {
      config: () => ({ uri: `${http.origin}/in?a=b`, auth_header: 'Basic auth-s3cret' }),
      async read() {
        const { received, body } = await posted()
        assert.deepEqual([received.method, received.target], ['POST', '/in?a=b'])
        assert.equal(received.headers.authorization, 'Basic auth-s3cret')
        assert.equal(received.headers['content-type'], 'application/json')
        return JSON.parse(body) as Entry[]
      },
    },
    'http-logger, by line': {
      config: () => ({ uri: http.origin, concat_method: 'new_line' }),
      async read() {
        const { received, body } = await posted()
        assert.deepEqual([received.target, received.headers['content-type']], ['/', 'text/plain'])
        assert.equal(received.headers.authorization, undefined)
        assert.doesNotMatch(body, /\n$/)
        return parsed(body)
      },
    },
    'tcp-logger': {
      config: () => ({ host: '127.0.0.1', port: tcp.port }),
      async read() {
        await until(() => tcp.text.endsWith('\n'), 'a batch')
        return JSON.parse(tcp.text) as Entry[]
      },
    },
    'tcp-logger, over TLS': {
      config: () => ({ host: '127.0.0.1', port: tls.port, tls: true, tls_options: 'logs.test', timeout: 20_000 }),
      async read() {
        await until(() => tls.text.endsWith('\n'), 'a batch')
        return JSON.parse(tls.text) as Entry[]
      },
    },
    'udp-logger': {
      config: () => ({ host: '127.0.0.1', port: udp.port }),
      async read() {
        await until(() => udp.datagrams.length === 1, 'a datagram')
        return JSON.parse(udp.datagrams[0]!) as Entry[]
      },
    },
    syslog: {
      config: () => ({ host: '127.0.0.1', port: tcp.port }),
      async read() {
        await until(() => tcp.text.split('\n').length === 3, 'two messages')
        return tcp.text.split('\n').slice(0, 2).map(message)
      },
    },
    'syslog, over UDP': {
      config: () => ({ host: '127.0.0.1', port: udp.port, sock_type: 'udp' }),
      async read() {
        await until(() => udp.datagrams.length === 2, 'two datagrams')
        return udp.datagrams.map(message)
      },
    },
    'loki-logger': {
      config: () => ({ endpoint_addrs: [http.origin], tenant_id: 'me', headers: { 'X-Key': 'header-s3cret' } }),
      async read() {
        const { received, body } = await posted()
        assert.equal(received.target, '/loki/api/v1/push')
        assert.deepEqual([received.headers['x-scope-orgid'], received.headers['x-key']], ['me', 'header-s3cret'])
        const [{ stream, values }, ...more] = (JSON.parse(body) as Push).streams as [Push['streams'][0]]
        assert.deepEqual([stream, more], [{ job: 'apisix' }, []])
        return values.map(([at, line]) => {
          assert.ok(Math.abs(Number(BigInt(at) / 1_000_000n) - Date.now()) < 60_000)
          return JSON.parse(line) as Entry
        })
      },
    },
    'clickhouse-logger': {
      config: () => ({
        endpoint_addr: `${http.origin}/`,
        user: 'me',
        password: 'password-s3cret',
        database: 'db',
        logtable: 'logs',
      }),
      async read() {
        const { received, body } = await posted()
        const { headers } = received
        assert.deepEqual(
          ['user', 'key', 'database'].map(name => headers[`x-clickhouse-${name}`]),
          ['me', 'password-s3cret', 'db'],
        )
        const [, rows] = /^INSERT INTO logs FORMAT JSONEachRow (\{.*\})$/.exec(body)!
        return JSON.parse(`[${rows!.replaceAll('} {', '},{')}]`) as Entry[]
      },
    },
    'elasticsearch-logger': {
      config: () => ({
        endpoint_addrs: [http.origin],
        field: { index: 'logs-{%Y}-$route_id' },
        auth: { username: 'me', password: 'password-s3cret' },
      }),
      async read() {
        const { received, body } = await posted()
        assert.equal(received.target, '/_bulk')
        assert.equal(received.headers['content-type'], 'application/x-ndjson')
        assert.equal(received.headers.authorization, `Basic ${Buffer.from('me:password-s3cret').toString('base64')}`)
        assert.match(body, /\n$/)
        const lines = parsed(body)
        const action = { index: { _index: `logs-${new Date().getFullYear()}-1` } }
        assert.deepEqual([lines[0], lines[2]] as unknown, [action, action])
        return [lines[1]!, lines[3]!]
      },
    },
  }
  interface Push {
    streams: { stream: Record<string, string>; values: [at: string, line: string][] }[]
  }

  function message(text: string): Entry {
    const [, at, host, json] = /^<46>1 (\S+) (\S+) apisix \d+ - - (\{.*\})\n?$/.exec(text)!
    assert.ok(Math.abs(Date.parse(at!) - Date.now()) < 60_000)
    assert.equal(host, hostname())
    return JSON.parse(json!) as Entry
  }

  for (const [what, { config, read }] of Object.entries(kinds)) {
    const name = what.split(',')[0]!
    it(`brings entries to its sink: ${what}`, async () => {
      await configure(name, { ...config(), batch_max_size: 2 })
      await ask('/one', '/two?apikey=client-s3cret')
      const entries = await read()
      assert.deepEqual(uris(entries), ['/one', '/two?apikey=[redacted]'])
      for (const { route_id, response, request } of entries) {
        assert.deepEqual([route_id, response.status, request.headers.authorization], ['1', 200, '[redacted]'])
      }
      assert.doesNotMatch(said, /s3cret/)
    })

    it(`brings what is left when its config goes: ${what}`, async () => {
      await configure(name, config())
      await ask('/one', '/two')
      if (what !== 'syslog, over UDP')
        assert.equal(http.received.length + tcp.text.length + tls.text.length + udp.datagrams.length, 0)
      await gateway.put({ routes: { 1: null } })
      assert.deepEqual(uris(await read()), ['/one', '/two'])
      assert.doesNotMatch(gateway.scrape(), /^sluice_log_entries_dropped_total/m)
      // The series goes with its route.
      await until(() => !/^apisix_batch_process_entries\{.*\} [1-9]/m.test(gateway.scrape()), 'nothing waits')
    })

    it(`takes a format and what to keep from its config: ${what}`, async () => {
      const log_format = { path: '$uri', sent: '$request_body', got: '$resp_body', secret: '$http_authorization' }
      await configure(name, { ...config(), batch_max_size: 2, log_format, include_resp_body: true })
      await ask('/one')
      await (await fetch(`${gateway.url}/two`, { method: 'POST', body: 'hello' })).arrayBuffer()
      const [one, two] = (await read()) as unknown as Record<string, string>[]
      const found = { service_id: '', route_id: '1', got: '{"ok":true}' }
      assert.deepEqual(one, { ...found, path: '/one', secret: '[redacted]' })
      assert.deepEqual(two, { ...found, path: '/two', sent: 'hello' })
    })
  }

  it('brings what is left when the gateway ends', async () => {
    const running = await startProcess()
    try {
      const plugins = { 'http-logger': { uri: http.origin, ...patient } }
      const own = { type: 'roundrobin', nodes: upstream.nodes }
      await running.admin('PUT', '/routes/1', { uri: '/*', plugins, upstream: own })
      await (await fetch(`${running.urls.requests}/last`)).arrayBuffer()
      assert.equal(http.received.length, 0)
      assert.equal(await running.stop(), 0)
      assert.deepEqual(uris(JSON.parse((await posted()).body) as Entry[]), ['/last'])
    } finally {
      await running.dispose()
    }
  }).timeout(120_000)

  it('posts an object where a batch is one entry, and names no route that there is not', async () => {
    const config = { uri: http.origin, batch_max_size: 1 }
    await gateway.put({ global_rules: { 1: { plugins: { 'http-logger': config } } } })
    await (await fetch(`${gateway.url}/nowhere`)).arrayBuffer()
    const entry = JSON.parse((await posted()).body) as Entry & { service_id: string }
    assert.deepEqual([entry.route_id, entry.service_id, entry.response.status], ['no-matched', '127.0.0.1', 404])
  })

  it('makes a stream of every entry where labels of loki-logger have variables', async () => {
    const log_labels = { job: 'mine', path: '$uri', who: '$http_authorization' }
    await configure('loki-logger', { endpoint_addrs: [http.origin], batch_max_size: 2, log_labels })
    await ask('/one', '/two')
    const { streams } = JSON.parse((await posted()).body) as Push
    assert.deepEqual(
      streams.map(({ stream, values }) => [stream, values.length]),
      ['/one', '/two'].map(path => [{ job: 'mine', path, who: '[redacted]' }, 1]),
    )
  })

  it('counts what Elasticsearch has refused of a batch that it took', async () => {
    http.script = received =>
      received.json(200, {
        took: 1,
        errors: true,
        items: [{ index: { status: 201 } }, { index: { status: 400, error: { type: 'mapper_parsing_exception' } } }],
      })
    await configure('elasticsearch-logger', { endpoint_addr: http.origin, field: { index: 'i' }, batch_max_size: 2 })
    await ask('/one', '/two')
    await until(() => dropped('elasticsearch-logger', 'refused') === 1, 'the count')
  })

  const dropped = (plugin: string, reason: string): number => {
    const series = `sluice_log_entries_dropped_total{plugin="${plugin}",reason="${reason}"} `
    return Number(
      gateway
        .scrape()
        .split('\n')
        .find(line => line.startsWith(series))
        ?.slice(series.length) ?? 0,
    )
  }

  /** How a sink may behave; where it says nothing, the plugin waits for a third of a second. */
  const bad: Record<string, { script: (received: Received) => unknown; silent?: true }> = {
    'answers 500, and repeats what it was sent': {
      script: received => received.json(500, { error: received.headers.authorization, body: SECRETS.join() }),
    },
    'hangs up': { script: received => received.cut() },
    'resets the connection': { script: received => received.reset() },
    'speaks something that is not HTTP': { script: received => received.lie('auth-s3cret') },
    'never answers': { script: () => {}, silent: true },
    'refuses, and does not come to its end': {
      script({ response }) {
        response.writeHead(429, { 'content-length': '1000000' })
        response.write('auth-s3cret')
      },
      silent: true,
    },
  }
  const bodies = () => Promise.all(http.received.map(({ body }) => body.then(String, () => '')))
  for (const [how, { script, silent: hangs }] of Object.entries(bad)) {
    it(`is not noticed by a client when its sink ${how}, tries again, and counts the loss`, async () => {
      http.script = script
      const config = {
        endpoint_addrs: [http.origin],
        endpoint_uri: '/?key=auth-s3cret',
        headers: { authorization: 'Basic auth-s3cret' },
        batch_max_size: 1,
      }
      const timeout = hangs ? 300 : 20_000
      await configure('loki-logger', { ...config, max_retry_count: 1, retry_delay: 0, timeout })
      await ask('/one')
      await until(() => dropped('loki-logger', 'failed') === 1, 'the loss')
      // A slow machine may not come to send within the time.
      assert.ok(http.received.length === 2 || (hangs && http.received.length < 2))
      assert.match(said, /Batch Processor\[loki logger\] exceeded the max_retry_count\[1\] dropping the entries/)
      assert.doesNotMatch(said, /s3cret/)
      http.script = received => received.json(200, {})
      await configure('loki-logger', { ...config, timeout: 20_000 })
      await ask('/two')
      await until(async () => (await bodies()).some(body => body.includes('/two')), 'the next entry')
    })
  }

  it('takes an answer for what its status says, however the rest of it goes on', async () => {
    http.script = ({ response }) => {
      response.writeHead(200, { 'content-length': '1000000' })
      response.write('x')
    }
    const config = { endpoint_addrs: [http.origin], batch_max_size: 1, timeout: 1_500, max_retry_count: 5 }
    await configure('loki-logger', config)
    await ask('/one', '/two')
    await until(async () => (await bodies()).some(body => body.includes('/two')), 'the second entry')
    assert.deepEqual([http.received.length, dropped('loki-logger', 'failed')], [2, 0])
  })

  it('drops what does not fit while its sink hangs, and keeps no client waiting', async () => {
    http.script = () => {}
    const config = { uri: http.origin, batch_max_size: 1, timeout: 60 }
    await configure('http-logger', config, { max_pending_entries: 5 })
    for (let n = 0; n < 20; n++) await ask(`/${n}`)
    await until(() => dropped('http-logger', 'queue_full') === 15, 'the losses')
    assert.match(
      gateway.scrape(),
      /^apisix_batch_process_entries\{name="http logger",route_id="1",server_addr=""\} 5$/m,
    )
    assert.match(said, /max pending entries limit exceeded\. discarding entry\./)
    await posted()
    assert.equal(http.received.length, 1)
    // Let go of the gateway: it would give the sink its five seconds.
    http.script = received => received.json(200, {})
    http.received[0]!.json(200, {})
    await posted(4)
  })

  it('opens another connection when a TCP sink has ended the one there was', async () => {
    await configure('tcp-logger', { host: '127.0.0.1', port: tcp.port, batch_max_size: 1, max_retry_count: 3 })
    await ask('/one', '/two')
    await until(() => tcp.text.split('\n').length === 3, 'two entries')
    assert.equal(tcp.connections, 1)
    tcp.cut()
    const seen = async () => {
      await ask('/again')
      return tcp.connections > 1
    }
    await until(seen, 'another connection')
    await until(() => tcp.text.includes('"uri":"/again"'), 'an entry on it')
  })

  it('counts what a TCP sink that is not there, or reads nothing, does not take', async () => {
    const { port } = tcp
    await tcp.close()
    await configure('tcp-logger', { host: '127.0.0.1', port, batch_max_size: 1 })
    await ask('/one')
    await until(() => dropped('tcp-logger', 'failed') === 1, 'the loss')
    assert.match(said, /ECONNREFUSED host\[127\.0\.0\.1\]/)
    tcp = await startStreamSink()
    tcp.deaf = true
    const large = 'x'.repeat(400_000)
    upstream.script = ({ response }) => void response.end(large)
    const config = { host: '127.0.0.1', port: tcp.port, batch_max_size: 100, timeout: 300, include_resp_body: true }
    await configure('tcp-logger', config)
    const lost = async () => {
      await ask('/large')
      return dropped('tcp-logger', 'failed') > 1
    }
    await until(lost, 'a batch that is not taken')
  })

  it('counts an entry that is larger than a datagram', async () => {
    upstream.script = ({ response }) => void response.end('x'.repeat(70_000))
    await configure('udp-logger', { host: '127.0.0.1', port: udp.port, batch_max_size: 1, include_resp_body: true })
    await ask('/large')
    await until(() => dropped('udp-logger', 'too_large') === 1, 'the loss')
    upstream.script = received => received.json(200, {})
    await ask('/small')
    await until(() => udp.datagrams.length === 1, 'the next')
  })

  it('verifies certificates where it is told to', async () => {
    const uri = `https://127.0.0.1:${tls.port}`
    await configure('http-logger', { uri, batch_max_size: 1, ssl_verify: true, timeout: 20 })
    await ask('/one')
    await until(() => dropped('http-logger', 'failed') === 1, 'the refusal')
    assert.match(said, /SELF_SIGNED/)
    assert.equal(tls.text, '')
    await configure('http-logger', { uri, batch_max_size: 1, ssl_verify: false, timeout: 20 })
    await ask('/two')
    await until(() => tls.text.startsWith('POST / HTTP/1.1'), 'the request')
  })

  it('is refused with what it cannot do', async () => {
    const refused: Record<string, [name: string, config: object][]> = {
      'only http:// and https://': [
        ['http-logger', { uri: 'tcp://a' }],
        ['loki-logger', { endpoint_addrs: ['ftp://a'] }],
      ],
      'user name or a password': [['http-logger', { uri: 'http://a:password@b' }]],
      'cannot be sent as a header': [
        ['http-logger', { uri: 'http://a', auth_header: 'a\nb' }],
        ['loki-logger', { endpoint_addrs: ['http://a'], headers: { 'a b': 'c' } }],
        ['clickhouse-logger', { endpoint_addr: 'http://a', password: 'a\r\n' }],
      ],
      'is no port': [
        ['tcp-logger', { host: 'a', port: 70_000 }],
        ['udp-logger', { host: 'a', port: 70_000 }],
        ['syslog', { host: 'a', port: -1 }],
      ],
      'tls needs sock_type tcp': [['syslog', { host: 'a', port: 1, tls: true, sock_type: 'udp' }]],
      'none of %Y': [['elasticsearch-logger', { endpoint_addr: 'http://a', field: { index: '{%q}' } }]],
      'should match only one schema': [
        ['elasticsearch-logger', { field: { index: 'a' } }],
        ['clickhouse-logger', { endpoint_addr: 'http://a', endpoint_addrs: ['http://a'] }],
      ],
      'deeper than 5': [['http-logger', { uri: 'http://a', log_format: { a: { b: { c: { d: { e: { f: 1 } } } } } } }]],
    }
    for (const [why, configs] of Object.entries(refused))
      for (const [name, config] of configs) {
        await gateway.put({ routes: { 1: { uri: '/*', plugins: { [name]: config }, upstream: { nodes: {} } } } })
        const { reason = '' } = (gateway.rejected[0] ?? {}) as { reason?: string }
        assert.ok(JSON.stringify(gateway.rejected).includes(why), `${name}: ${why} not in ${reason}`)
      }
  })

  it('has its secrets encrypted where they are stored', () => {
    const encrypted = builtins.filter(({ name }) => name in kinds).map(({ name, encrypt = [] }) => [name, ...encrypt])
    assert.deepEqual(encrypted, [
      ['clickhouse-logger', 'password'],
      ['elasticsearch-logger', 'auth.password', 'headers'],
      ['http-logger', 'auth_header'],
      ['loki-logger', 'headers'],
      ['syslog'],
      ['tcp-logger'],
      ['udp-logger'],
    ])
  })
})
