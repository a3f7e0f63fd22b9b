// What is made of a request line and its fields: the path as nginx normalises it, the host, the query.
import assert from 'node:assert/strict'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { posix } from 'node:path'
import fc from 'fast-check'
import { GatewayError } from '../../core/errors.ts'
import { normalisePath, Request } from '../../core/request.ts'

function request(target: string, rawHeaders: string[] = ['Host', 'gateway.test'], version = '1.1'): Request {
  const message = new IncomingMessage(new Socket())
  message.method = 'GET'
  message.url = target
  message.httpVersion = version
  message.rawHeaders = rawHeaders
  const made = new Request(message)
  if (made.refused !== undefined) throw made.refused
  return made
}

const refused = (code: string) => (error: unknown) =>
  error instanceof GatewayError && error.status === 400 && error.code === code

describe('the path of a request', () => {
  // As nginx does it with merge_slashes on; `undefined` is its 400.
  const table: [raw: string, path: string | undefined][] = [
    ['/', '/'],
    ['/a', '/a'],
    ['/a/', '/a/'],
    ['/A', '/A'],
    ['//', '/'],
    ['///a//b///', '/a/b/'],
    ['/.', '/'],
    ['/./', '/'],
    ['/a/.', '/a/'],
    ['/a/./b', '/a/b'],
    ['/a/..', '/'],
    ['/a/../', '/'],
    ['/a/../b', '/b'],
    ['/a/b/..', '/a/'],
    ['/a/b/../..', '/'],
    ['/a//../b', '/b'],
    ['/..', undefined],
    ['/../', undefined],
    ['/a/../..', undefined],
    ['/a/../../b', undefined],
    ['/...', '/...'],
    ['/..a', '/..a'],
    ['/a..', '/a..'],
    ['/.a', '/.a'],
    ['/a.', '/a.'],
    ['/%61', '/a'],
    ['/a%2Fb', '/a/b'],
    ['/a%2fb', '/a/b'],
    ['/%2e', '/'],
    ['/a/%2E%2e/b', '/b'],
    ['/a/.%2e/b', '/b'],
    ['/a%2F..%2Fb', '/b'],
    ['/%2e%2e/a', undefined],
    ['/a%2F%2F%2Fb', '/a/b'],
    ['/a%20b', '/a b'],
    ['/a+b', '/a+b'],
    ['/a%3Fb', '/a?b'],
    ['/a%23b', '/a#b'],
    ['/%25', '/%'],
    ['/%252e%252e', '/%2e%2e'],
    ['/%C3%A9', '/é'],
    ['/%E2%82%AC', '/€'],
    ['/a;b=c', '/a;b=c'],
    ['/a\\b', '/a\\b'],
    ['/%', undefined],
    ['/%4', undefined],
    ['/%zz', undefined],
    ['/a%2', undefined],
    ['/%FF%zz', undefined],
    ['/%00', undefined],
    ['/a%00b', undefined],
  ]
  for (const [raw, path] of table) {
    it(`is ${path ?? 'refused'} for ${raw}`, () => {
      if (path === undefined) assert.throws(() => request(raw), refused('bad_path'))
      else assert.equal(request(raw).path, path)
    })
  }

  it('has one form for bytes that are no UTF-8', () => {
    assert.equal(normalisePath('/%ff'), normalisePath('/%FF'))
    assert.equal(normalisePath('/%ff/../a'), '/a')
  })

  const piece = fc.constantFrom('/', '/', '.', '..', 'a', 'b', '%2e', '%2E', '%2F', '%2f', '%61', '%20', '%C3%A9')
  const raw = fc.array(piece, { maxLength: 12 }).map(pieces => `/${pieces.join('')}`)

  it('is what a path library makes of the decoded target, or refused when that climbs above the root', () => {
    fc.assert(
      fc.property(raw, target => {
        const decoded = decodeURIComponent(target)
        // Below a folder of its own a path that climbs comes out beside it.
        let depth = 0
        let lowest = 0
        for (const segment of decoded.split('/').filter(each => each !== '' && each !== '.')) {
          depth += segment === '..' ? -1 : 1
          lowest = Math.min(lowest, depth)
        }
        if (lowest < 0) {
          assert.throws(() => normalisePath(target), refused('bad_path'))
          return
        }
        const folder = /(^|\/)\.{0,2}$/.test(decoded)
        assert.equal(normalisePath(target), posix.normalize(folder ? `${decoded}/` : decoded))
      }),
      { numRuns: 300, seed: 20_261_120 },
    )
  })

  it('is its own normal form and never leaves the root', () => {
    fc.assert(
      fc.property(raw, target => {
        let path: string
        try {
          path = normalisePath(target)
        } catch {
          return
        }
        assert.equal(normalisePath(path), path)
        assert.ok(path.startsWith('/'))
        assert.ok(!/\/(\.{0,2})\//.test(path) && !/\/\.{1,2}$/.test(path), path)
      }),
      { numRuns: 300, seed: 20_261_120 },
    )
  })
})

describe('the target of a request', () => {
  it('is kept as it came, with its query apart', () => {
    const { target, path, search } = request('/a%2Fb/../c?x=%20&y=/../?z')
    assert.deepEqual(
      { target, path, search },
      { target: '/a%2Fb/../c?x=%20&y=/../?z', path: '/a/c', search: 'x=%20&y=/../?z' },
    )
  })

  it('ends for matching where a fragment begins, as in nginx', () => {
    assert.deepEqual([request('/a#b?c').path, request('/a#b?c').search], ['/a', ''])
    assert.deepEqual([request('/a?b#c').path, request('/a?b#c').search], ['/a', 'b'])
  })

  it('gives query arguments decoded and in order', () => {
    const asked = request('/?a=1&b=x%20y+z&a=2&c')
    assert.equal(asked.query('a'), '1')
    assert.equal(asked.query('b'), 'x y z')
    assert.equal(asked.query('c'), '')
    assert.equal(asked.query('d'), undefined)
    assert.deepEqual(asked.queryAll().get('a'), ['1', '2'])
  })

  it('in absolute form loses its origin, which takes the place of the Host field', () => {
    for (const target of ['http://Other.test:81/x?y', 'HTTPS://Other.test:81/x?y']) {
      const asked = request(target)
      assert.deepEqual([asked.target, asked.path, asked.host], ['/x?y', '/x', 'other.test'])
      assert.deepEqual(asked.headers.all('host'), ['Other.test:81'])
    }
    assert.equal(request('http://other.test').target, '/')
    assert.equal(request('http://other.test?q').target, '/?q')
  })

  it('of any other form is refused', () => {
    for (const target of ['*', 'x', 'ftp://a/', 'a:80']) assert.throws(() => request(target), refused('bad_target'))
  })
})

describe('the host of a request', () => {
  const table: [field: string, host: string | undefined][] = [
    ['foo.com', 'foo.com'],
    ['Foo.COM', 'foo.com'],
    ['foo.com:8080', 'foo.com'],
    ['foo.com:', 'foo.com'],
    ['foo.com.', 'foo.com'],
    ['foo.com.:80', 'foo.com'],
    ['127.0.0.1:80', '127.0.0.1'],
    ['[::1]:80', '[::1]'],
    ['[::1]', '[::1]'],
    ['a_b', 'a_b'],
    ['', undefined],
    [':80', undefined],
    ['a..b', undefined],
    ['a..', undefined],
    ['.', undefined],
    ['a/b', undefined],
    ['user@foo.com', undefined],
    ['a b', undefined],
    ['[::1', undefined],
    ['foo.com:80:90', undefined],
    ['foo.com:http', undefined],
  ]
  for (const [field, host] of table) {
    it(`is ${host ?? 'refused'} for "${field}"`, () => {
      if (host === undefined) assert.throws(() => request('/', ['Host', field]), refused('bad_host'))
      else assert.equal(request('/', ['Host', field]).host, host)
    })
  }

  it('is refused when there are two, even equal ones', () => {
    assert.throws(() => request('/', ['Host', 'a', 'host', 'a']), refused('bad_host'))
    assert.throws(() => request('http://a/', ['Host', 'a', 'host', 'a']), refused('bad_host'))
  })

  it('is refused when there is none in HTTP/1.1, and empty in HTTP/1.0', () => {
    assert.throws(() => request('/', []), refused('bad_host'))
    assert.equal(request('/', [], '1.0').host, '')
  })
})

describe('the fields of a request', () => {
  it('lose on arrival what Connection names, except what frames and routes the message', () => {
    const { headers } = request('/', [
      ...['Host', 'a', 'Content-Length', '3', 'X-Mine', '1', 'Upgrade', 'x', 'X-Other', '2'],
      ...['Connection', 'close, X-MINE', 'Connection', 'host,content-length , upgrade, x-Absent'],
    ])
    assert.deepEqual(
      { ...headers.toObject() },
      {
        host: 'a',
        'content-length': '3',
        upgrade: 'x',
        'x-other': '2',
        connection: 'close, host, content-length, upgrade',
      },
    )
  })

  it('take no longer when Connection names thousands', () => {
    const names = Array.from({ length: 8_000 }, (_, at) => `a${at.toString(36)}`)
    const others = Array.from({ length: 1_000 }, (_, at) => [`b${at}`, 'x']).flat()
    const started = process.cpuUsage()
    for (let times = 0; times < 10; times++) request('/', ['Host', 'a', 'Connection', names.join(','), ...others])
    assert.ok(process.cpuUsage(started).user < 500_000)
  })

  it('keep their order, case and duplicates', () => {
    const fields = ['Host', 'a', 'X-One', '1', 'x-one', '2', 'Connection', 'Keep-Alive']
    assert.deepEqual(request('/', fields.slice()).headers.raw, fields)
  })
})
