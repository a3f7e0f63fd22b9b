// Routes that look into the body (`post_arg` in vars): what they match, what is read for them, and what is left alone.
import assert from 'node:assert/strict'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { openJournal } from '../helpers/journal.ts'
import { connectRaw } from '../helpers/raw-client.ts'
import { until } from '../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

describe('a route that looks into the body', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  const journal = openJournal()
  const vars = (...rules: unknown[]) => rules

  beforeEach(async () => {
    journal.lines.length = 0
    // Says which route it came by, and gives the body back.
    upstream = await startUpstream(async received => {
      const body = (await received.body).toString()
      received.json(200, { by: received.headers['x-by'], body })
    })
    gateway = await startGateway({
      log: journal.log,
      maxPostArgs: 1_000,
      resources: {
        routes: {
          a: by('a', { methods: ['POST'], vars: vars(['post_arg.model', '==', 'a']) }),
          deep: by('deep', { vars: vars(['post_arg.messages[*].content[*].type', 'has', 'image']) }),
          yes: by('yes', { vars: vars(['post_arg.stream', '==', true]) }),
          form: by('form', { vars: vars(['post_arg_kind', '==', 'form']) }),
          part: by('part', { vars: vars(['post_arg.kind', '==', 'part']) }),
          rest: by('rest', { priority: -1 }),
          other: by('other', { uri: '/other' }),
        },
      },
    })
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  function by(name: string, more: object) {
    const plugins = { 'proxy-rewrite': { headers: { set: { 'X-By': name } } } }
    return { uri: '/ask', plugins, upstream: { type: 'roundrobin', nodes: upstream.nodes }, ...more }
  }

  async function ask(body: string | undefined, type = 'application/json', init: RequestInit = {}) {
    const answer = await fetch(`${gateway.url}/ask`, {
      method: 'POST',
      headers: { 'content-type': type },
      ...(body === undefined ? {} : { body }),
      ...init,
    })
    return (await answer.json()) as { by: string; body: string }
  }

  const image = { messages: [{ content: [{ type: 'text' }] }, { content: [{ type: 'image' }] }] }
  const multipart = [
    '--xyz',
    'Content-Disposition: form-data; name="file"; filename="kind"',
    'Content-Type: text/plain',
    '',
    'name="kind"',
    '--xyz',
    'Content-Disposition: form-data; name="kind"',
    '',
    'part',
    '--xyz--',
    '',
  ].join('\r\n')
  const table: [by: string, body: string, type?: string][] = [
    ['a', '{"model":"a"}'],
    ['a', '{"model":"a"}', 'application/vnd.api+json; charset=utf-8'],
    ['rest', '{"model":"b"}'],
    ['rest', '{"model":"a"}', 'text/plain'],
    ['rest', '{"model":"a"'],
    ['rest', '', 'application/json'],
    ['rest', '{"__proto__":{"model":"a"}}'],
    ['deep', JSON.stringify(image)],
    ['yes', '{"stream":true}'],
    ['rest', '{"stream":"true"}'],
    ['form', 'x=1&kind=form', 'application/x-www-form-urlencoded'],
    ['rest', 'kind=other', 'application/x-www-form-urlencoded'],
    ['part', multipart, 'multipart/form-data; boundary=xyz'],
    ['part', multipart, 'multipart/form-data; charset=utf-8; boundary="xyz"'],
    ['rest', multipart, 'multipart/form-data; boundary=other'],
    ['rest', multipart.replace('part', 'form'), 'multipart/form-data; boundary=xyz'],
  ]
  for (const [by, body, type = 'application/json'] of table) {
    it(`is ${by} for ${JSON.stringify(body.slice(0, 60))} as ${type}`, async () => {
      // The upstream has what the client sent, whatever was read of it.
      assert.deepEqual(await ask(body, type), { by, body })
    })
  }

  it('matches a body that comes in chunks, after its head', async () => {
    const client = await connectRaw(gateway.port)
    client.write(
      'POST /ask HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n',
    )
    client.write('8\r\n{"model"\r\n')
    await new Promise(resolve => setImmediate(resolve))
    client.write('5\r\n:"a"}\r\n0\r\n\r\n')
    await client.reads('"by":"a"')
    client.close()
  })

  it('is not matched by a body that is larger than is looked into, which goes on unread and is said', async () => {
    const body = JSON.stringify({ model: 'a', padding: 'x'.repeat(1_000) })
    assert.deepEqual(await ask(body), { by: 'rest', body })
    assert.ok(journal.lines.some(({ message }) => message === 'a body is too large for routes to look into'))
  })

  it('keeps nobody waiting who asks for another path or by another method, or who sends no fields', async () => {
    for (const start of [
      'POST /other HTTP/1.1\r\nContent-Type: application/json',
      'POST /ask HTTP/1.1\r\nContent-Type: text/plain',
    ]) {
      const before = upstream.received.length
      const client = await connectRaw(gateway.port)
      client.write(`${start}\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{`)
      await until(() => upstream.received.length > before, 'the request is on its way, its body is not')
      client.close()
    }
  })

  it('waits for the body on the configuration that the request began on', async () => {
    const client = await connectRaw(gateway.port)
    client.write('POST /ask HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"mod')
    await until(() => gateway.gateway.inFlight === 1, 'it has begun')
    await gateway.put({ routes: { a: null, rest: null, deep: null } })
    assert.equal((await fetch(`${gateway.url}/ask`)).status, 404)
    client.write('el":"a"}')
    await client.reads('"by":"a"')
    client.close()
  })

  it('ends with the client that leaves before its body has come', async () => {
    const client = await connectRaw(gateway.port)
    client.write('POST /ask HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"mod')
    await until(() => gateway.gateway.inFlight === 1, 'it has begun')
    client.reset()
    await until(() => gateway.gateway.inFlight === 0, 'it is over')
    assert.equal(upstream.received.length, 0)
  })
})
