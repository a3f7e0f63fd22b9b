// Requests that two readers could take for different things: each is refused, or proved to be one thing at the other end.
import assert from 'node:assert/strict'
import { startGateway, type TestGateway } from './helpers/gateway.ts'
import { connectRaw } from './helpers/raw-client.ts'
import { type RecordingUpstream, startRecordingUpstream } from './helpers/recording-upstream.ts'
import { until } from './helpers/until.ts'

/** What becomes of it: a status of the gateway's own, or requests that the upstream sees, body by body. */
type Fate = number | readonly string[]

/** Lines with CRLF behind each, and an empty one. */
const head = (...lines: string[]) => `${lines.join('\r\n')}\r\n\r\n`
const post = (...fields: string[]) => head('POST /first HTTP/1.1', 'Host: a', ...fields)
const get = (...fields: string[]) => head('GET /first HTTP/1.1', 'Host: a', ...fields)
const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n'
const CHUNKED = 'Transfer-Encoding: chunked'
/** One chunk of five bytes, and the end. */
const HELLO = '5\r\nhello\r\n0\r\n\r\n'

const cases: Record<string, [bytes: string, fate: Fate][]> = {
  'a length and chunks': [
    [post('Content-Length: 4', CHUNKED) + HELLO, 400],
    [post(CHUNKED, 'Content-Length: 4') + HELLO, 400],
    [post('Content-Length: 0', CHUNKED) + HELLO, 400],
    [post(CHUNKED, 'Content-length: 4', 'Connection: content-length') + HELLO, 400],
    [post('Content-Length: 5', `Connection: transfer-encoding`, CHUNKED) + HELLO, 400],
  ],
  'several lengths': [
    [`${post('Content-Length: 5', 'Content-Length: 6')}hello`, 400],
    [`${post('Content-Length: 5', 'Content-Length: 5')}hello`, 400],
    [`${post('Content-Length: 5', 'content-length: 0')}hello`, 400],
    [`${post('Content-Length: 5, 5')}hello`, 400],
    [`${post('Content-Length: 5,6')}hello`, 400],
  ],
  'a length that is none': [
    [`${post('Content-Length: -5')}hello`, 400],
    [`${post('Content-Length: +5')}hello`, 400],
    [`${post('Content-Length: 0x5')}hello`, 400],
    [`${post('Content-Length: 5 5')}hello`, 400],
    [`${post('Content-Length: 5.0')}hello`, 400],
    [`${post('Content-Length: 5e0')}hello`, 400],
    [`${post('Content-Length: ')}hello`, 400],
    [`${post('Content-Length: five')}hello`, 400],
    [`${post('Content-Length: "5"')}hello`, 400],
    [`${post('Content-Length: 99999999999999999999')}hello`, 400],
    [`${post('Content-Length: 18446744073709551621')}hello`, 400],
  ],
  'a length in an odd form': [
    [`${post('Content-Length:5')}hello`, ['hello']],
    [`${post('Content-Length: \t5 \t')}hello`, ['hello']],
    [`${post('Content-Length: 0005')}hello`, ['hello']],
    [`${post('Content_Length: 0', 'Content-Length: 5')}hello`, ['hello']],
  ],
  'a coding that is not chunked alone': [
    [post('Transfer-Encoding: identity') + HELLO, 400],
    [post('Transfer-Encoding: xchunked') + HELLO, 400],
    [post('Transfer-Encoding: chunked, identity') + HELLO, 400],
    [post('Transfer-Encoding: gzip, chunked') + HELLO, 501],
    [post('Transfer-Encoding: chunked, chunked') + HELLO, 400],
    [post('Transfer-Encoding: "chunked"') + HELLO, 400],
    [post('Transfer-Encoding: chunked;q=1') + HELLO, 400],
    [post('Transfer-Encoding: ') + HELLO, 400],
    [post(CHUNKED, CHUNKED) + HELLO, 400],
    [post(CHUNKED, 'Transfer-Encoding: identity') + HELLO, 400],
    [post('Transfer-Encoding: identity', CHUNKED) + HELLO, 501],
    [post('Transfer-Encoding: \vchunked') + HELLO, 400],
    [post('Transfer-Encoding: chunked\0') + HELLO, 400],
    [post('Transfer-Encoding: chun ked') + HELLO, 400],
  ],
  'chunked in an odd form': [
    [post('Transfer-Encoding:chunked') + HELLO, ['hello']],
    [post('Transfer-Encoding: \t chunked') + HELLO, ['hello']],
    [post('Transfer-Encoding: chunked \t') + HELLO, 400],
    [post('TRANSFER-ENCODING: ChUnKeD') + HELLO, ['hello']],
    [`${post('Transfer_Encoding: chunked', 'Content-Length: 5')}hello`, ['hello']],
    [`${post('X-Transfer-Encoding: chunked', 'Content-Length: 5')}hello`, ['hello']],
    [post(CHUNKED, 'Connection: transfer-encoding') + HELLO, ['hello']],
    [post(CHUNKED, 'TE: trailers', 'Trailer: x') + HELLO, ['hello']],
    [head('GET /first HTTP/1.1', 'Host: a', CHUNKED) + HELLO, ['hello']],
    [head('POST /first HTTP/1.0', 'Host: a', CHUNKED) + HELLO, ['hello']],
  ],
  'chunks that are none': [
    [`${post(CHUNKED)}0x5\r\nhello\r\n0\r\n\r\n`, 400],
    [`${post(CHUNKED)}-5\r\nhello\r\n0\r\n\r\n`, 400],
    [`${post(CHUNKED)}+5\r\nhello\r\n0\r\n\r\n`, 400],
    [`${post(CHUNKED)}5 \r\nhello\r\n0\r\n\r\n`, 400],
    [`${post(CHUNKED)} 5\r\nhello\r\n0\r\n\r\n`, 400],
    [`${post(CHUNKED)}\r\n5\r\nhello\r\n0\r\n\r\n`, 400],
    [`${post(CHUNKED)}g\r\nhello\r\n0\r\n\r\n`, 400],
    [`${post(CHUNKED)}10000000000000005\r\nhello\r\n0\r\n\r\n`, 400],
    [`${post(CHUNKED)}5\nhello\r\n0\r\n\r\n`, 400],
    [`${post(CHUNKED)}5\r\nhello\n0\r\n\r\n`, 400],
    [`${post(CHUNKED)}5\rhello\r\n0\r\n\r\n`, 400],
    [`${post(CHUNKED)}5\r\nhello0\r\n\r\n`, 400],
    [`${post(CHUNKED)}5\r\nhello world\r\n0\r\n\r\n`, 400],
    [`${post(CHUNKED)}5\r\nhello\r\n0\n\n${SMUGGLED}`, 400],
    [`${post(CHUNKED)}5;a\nb\r\nhello\r\n0\r\n\r\n`, 400],
    [`${post(CHUNKED)}5;a\rb\r\nhello\r\n0\r\n\r\n`, 400],
    [`${post(CHUNKED)}5;a\0b\r\nhello\r\n0\r\n\r\n`, 400],
    [`${post(CHUNKED)}0\r\nX: a\r\n b\r\n\r\n`, 400],
    [`${post(CHUNKED)}0\r\nX : a\r\n\r\n`, 400],
    [`${post(CHUNKED)}0\r\nContent-Length: 3\r\n\r\n`, 400],
    [`${post(CHUNKED)}0\r\nTransfer-Encoding: chunked\r\n\r\n`, 400],
    [`${post(CHUNKED)}0\r\nno colon\r\n\r\n`, 400],
  ],
  'chunks with more than data': [
    [`${post(CHUNKED)}5;name=value\r\nhello\r\n0;last\r\n\r\n`, ['hello']],
    [`${post(CHUNKED)}0005\r\nhello\r\n000\r\n\r\n`, ['hello']],
    [`${post(CHUNKED)}5\r\nhello\r\n0\r\nHost: b\r\nX: y\r\n\r\n`, ['hello']],
    [`${post(CHUNKED)}2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n`, ['hello']],
  ],
  'a field that is none': [
    [`${post('Transfer-Encoding : chunked')}${HELLO}`, 400],
    [`${post('Content-Length : 5')}hello`, 400],
    [`${post('Content-Length\t: 5')}hello`, 400],
    [head('POST /first HTTP/1.1', ' Host: a', 'Content-Length: 0'), 400],
    [head('GET /first HTTP/1.1', '\tX: y', 'Host: a'), 400],
    [get('X: a', ' Transfer-Encoding: chunked'), 400],
    [get('X: a', '\tb'), 400],
    [post('Transfer-Encoding:', ' chunked') + HELLO, 400],
    [get('no colon'), 400],
    [get(': no name'), 400],
    [get('X(y): z'), 400],
    [get('X y: z'), 400],
    [get('X\0y: z'), 400],
    [get('X: a\0b'), 400],
    [get('X: a\rb'), 400],
    [get('X: a\x01b'), 400],
    [get('X: a\rTransfer-Encoding: chunked'), 400],
    [get('X\xe9: y'), 400],
  ],
  'lines that do not end as they must': [
    ['GET /first HTTP/1.1\nHost: a\n\n', 400],
    ['GET /first HTTP/1.1\r\nHost: a\n\r\n', 400],
    ['GET /first HTTP/1.1\r\nHost: a\nX: y\r\n\r\n', 400],
    ['GET /first HTTP/1.1\r\nHost: a\r\n\n', 400],
    ['GET /first HTTP/1.1\r\nHost: a\r\r\n\r\n', 400],
    ['GET /first HTTP/1.1\rHost: a\r\r', 400],
    ['POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 0\n\r\nTransfer-Encoding: chunked\r\n\r\n', 400],
  ],
  'a request line that is none': [
    [head('GET\t/first HTTP/1.1', 'Host: a'), 400],
    [head('GET /first\tHTTP/1.1', 'Host: a'), 400],
    [head(' GET /first HTTP/1.1', 'Host: a'), 400],
    [head('GET /first HTTP/1.1 ', 'Host: a'), 400],
    [head('GET /first HTTP/1.1 x', 'Host: a'), 400],
    [head('GET /fi rst HTTP/1.1', 'Host: a'), 400],
    [head('GET /first', 'Host: a'), 505],
    ['GET /first\r\n\r\n', 505],
    [head('GET HTTP/1.1', 'Host: a'), 400],
    [head('get /first HTTP/1.1', 'Host: a'), 400],
    [head('G@T /first HTTP/1.1', 'Host: a'), 400],
    [head('GET /fi\0rst HTTP/1.1', 'Host: a'), 400],
    [head('GET /first http/1.1', 'Host: a'), 400],
    [head('GET /first HTTP/1.2', 'Host: a'), 400],
    [head('GET /first HTTP/2.0', 'Host: a'), 505],
    [head('GET /first HTTP/0.9', 'Host: a'), 505],
    [head('GET /first HTTP/11', 'Host: a'), 400],
    [head('GET /first HTTP/1.10', 'Host: a'), 400],
    [head('GET /first HTTQ/1.1', 'Host: a'), 400],
    ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
    [head('OPTIONS * HTTP/1.1', 'Host: a'), 400],
  ],
  'a host that is not one host': [
    [head('GET /first HTTP/1.1', 'Host: a', 'Host: b'), 400],
    [head('GET /first HTTP/1.1', 'Host: a', 'host: a'), 400],
    [head('GET /first HTTP/1.1'), 400],
    [head('GET /first HTTP/1.1', 'Host: '), 400],
    [head('GET /first HTTP/1.1', 'Host: a, b'), 400],
    [head('GET /first HTTP/1.1', 'Host: a b'), 400],
    [head('GET /first HTTP/1.1', 'Host: a/b'), 400],
    [head('GET /first HTTP/1.1', 'Host: a@b'), 400],
    [head('GET /first HTTP/1.1', 'Host: a:80:90'), 400],
    [head('GET /first HTTP/1.1', 'Host: a:b'), 400],
    [head('GET http://b@c/first HTTP/1.1', 'Host: a'), 400],
    [head('GET ftp://b/first HTTP/1.1', 'Host: a'), 400],
    [head('GET http:///first HTTP/1.1', 'Host: a'), 400],
    [head('GET first HTTP/1.1', 'Host: a'), 400],
  ],
  'what is one request in an odd form': [
    [`\r\n\r\n${get()}`, ['']],
    [head('GET  /first HTTP/1.1', 'Host: a'), ['']],
    [head('GET /first  HTTP/1.1', 'Host: a'), ['']],
    [head('GET http://a/first HTTP/1.1', 'Host: a'), ['']],
    [head('GET http://b/first HTTP/1.1', 'Host: a'), ['']],
    [`${get('Content-Length: 5')}hello`, ['hello']],
    [`${head('DELETE /first HTTP/1.1', 'Host: a', 'Content-Length: 5')}hello`, ['hello']],
    [get('Connection: Host, Content-Length'), ['']],
    [get('Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__'), ['']],
    [get('X: y\t z'), ['']],
    [get('X:'), ['']],
    [get('X: caf\xe9'), ['']],
    [`${post('Content-Length: 5', 'Expect: 100-continue')}hello`, ['hello']],
  ],
  'what follows on the same connection': [
    [`${post('Content-Length: 5')}helloG@T /smuggled HTTP/1.1\r\nHost: a\r\n\r\n`, ['hello']],
    [`${post('Content-Length: 5')}hello\r\n\r\n${get()}`, ['hello', '']],
    [`${post(CHUNKED)}${HELLO}\r\n${get()}`, ['hello', '']],
    [`${head('GET /first HTTP/1.1', 'Host: a', 'Upgrade: websocket', 'Connection: Upgrade')}${SMUGGLED}`, ['']],
    [`${head('HEAD /first HTTP/1.1', 'Host: a', 'Content-Length: 5')}hello${get()}`, ['hello', '']],
    [`${post(`Content-Length: ${SMUGGLED.length}`)}${SMUGGLED}${get()}`, [SMUGGLED, '']],
  ],
}

describe('a request on a bare socket', () => {
  let upstream: RecordingUpstream
  let gateway: TestGateway

  before(async () => {
    upstream = await startRecordingUpstream()
    gateway = await startGateway({
      resources: {
        routes: { r: { uri: '/*', upstream: { nodes: { [`127.0.0.1:${upstream.port}`]: 1 }, retries: 0 } } },
      },
    })
  })
  after(async () => {
    await gateway.close()
    await upstream.close()
  })

  it('is tried in more ways than a person would think of', () => {
    assert.ok(Object.values(cases).flat().length >= 140)
  })

  for (const [what, all] of Object.entries(cases)) {
    describe(`with ${what}`, () => {
      for (const [bytes, fate] of all) {
        const shown = JSON.stringify(bytes.replace(/^(\w+ \/first HTTP\/1.1\r\nHost: a\r\n)/, '… ')).slice(0, 110)
        it(`${typeof fate === 'number' ? `is refused with ${fate}` : `is ${fate.length}`}: ${shown}`, async () => {
          const before = upstream.whole.length
          const client = await connectRaw(gateway.port)
          const refused = typeof fate === 'number'
          client.write(bytes)
          await until(() => client.responses() >= (refused ? 1 : fate.length), 'it is answered')
          if (refused) assert.match(client.received, new RegExp(`^HTTP/1.1 ${fate} `))
          // Where the connection is kept, both sides must agree on where the next request begins.
          const answered = client.responses()
          client.write(get('X-Next: 1'))
          await until(() => client.closed || client.responses() > answered, 'the next is answered, or none is any more')
          const seen = upstream.whole.slice(before)
          const next = seen.at(-1)?.fields.some(([name]) => name === 'x-next') ? [''] : []
          assert.deepEqual(
            seen.map(({ body }) => body),
            [...(refused ? [] : fate), ...next],
          )
          assert.ok(seen.every(({ target }) => target === '/first'))
          client.close()
          assert.deepEqual(upstream.senseless, [])
        })
      }
    })
  }
})
