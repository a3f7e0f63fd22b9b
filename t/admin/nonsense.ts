// Calls of the admin API that nobody means well with, or almost: random paths, queries, headers and bodies, and what must hold.
import assert from 'node:assert/strict'
import { request } from 'node:http'
import fc from 'fast-check'
import { adminKey, type TestAdmin } from '../helpers/admin.ts'
import { nodes, sampleList } from '../helpers/samples.ts'

export interface Call {
  verb: string
  /** As it goes over the wire, below the server. */
  path: string
  body: string | undefined
  headers: Record<string, string>
}

const word = fc.constantFrom(
  ...sampleList.flatMap(([, { collection, id }]) => [...collection.split('/'), ...id.split('/')]),
  ...['schema', 'plugins', 'validate', 'list', 'configs', 'stream_routes', 'reload', 'vault', 'labels'],
  ...[
    '1',
    '',
    '%2F',
    '%00',
    '%',
    '%E0%A4%A',
    '..',
    '.',
    '__proto__',
    'constructor',
    'jack%2Fcredentials%2Fc1',
    '*',
    'é',
  ],
)
const path = fc.oneof(
  fc.array(word, { maxLength: 5 }).map(words => `/apisix/admin/${words.join('/')}`),
  fc.stringMatching(/^[!-~]{0,20}$/).map(text => `/apisix/admin/${text}`),
  fc.stringMatching(/^[!-~]{0,20}$/).map(text => `/${text}`),
)
const query = fc.oneof(
  fc.constant(''),
  fc.constantFrom(
    '?ttl=5',
    '?force=true',
    '?page=1&page_size=10',
    '?name=[',
    '?filter=%25',
    '?all=true',
    '?api_key=',
    '?%',
  ),
  fc.webQueryParameters().map(text => `?${text}`),
)
const headers = fc.oneof(
  { weight: 4, arbitrary: fc.constant({}) },
  fc.dictionary(
    fc.constantFrom(
      'If-Match',
      'If-None-Match',
      'Content-Type',
      'Accept',
      'X-Digest',
      'Cookie',
      'X-HTTP-Method-Override',
    ),
    fc.oneof(fc.constantFrom('*', '"1"', 'W/"1"', '""', ',', 'application/yaml'), fc.stringMatching(/^[!-~]{0,10}$/)),
    { noNullPrototype: true },
  ),
)
const ids = sampleList.map(([, { id }]) => id)
const leaf = fc.constantFrom<unknown>('/a', 1, ...ids, nodes, { nodes }, {}, [], null, true, { late: { n: 1 } })
const names = sampleList.flatMap(([, { value, change }]) => [...Object.keys(value), change[0]])
const likely = fc.dictionary(fc.constantFrom(...names, 'id', 'upstream_id', 'service_id', '__proto__'), leaf, {
  noNullPrototype: true,
})
/** Who refers to whom. */
const link = fc.constantFrom<Record<string, unknown>>({ upstream_id: 'u1' }, { service_id: 's1' }, {})
const body = fc.oneof(
  likely.map(value => JSON.stringify(value)),
  fc.json({ maxDepth: 4 }),
  fc.string(),
  fc.constant(undefined),
)
const verb = fc.constantFrom('GET', 'PUT', 'POST', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS')

const random = fc
  .tuple(verb, path, query, fc.tuple(body, headers))
  .map(([verb, path, query, [body, headers]]): Call => ({ verb, path: path + query, body, headers }))

const wellMeant = fc
  .tuple(verb, fc.constantFrom(...sampleList), fc.tuple(likely, link), headers)
  .map(([verb, [kind, { collection, id, value }], [more, link], headers]): Call => {
    const path = `/apisix/admin/${verb === 'POST' ? collection : `${collection}/${id}`}`
    const good = { ...value, ...(kind === 'routes' || (kind === 'services' && !link.service_id) ? link : {}) }
    const some = verb === 'PATCH' ? more : Object.keys(more).length > 2 ? { ...good, ...more } : good
    return { verb, path, body: JSON.stringify(some), headers }
  })

export const call: fc.Arbitrary<Call> = fc.oneof(random, wellMeant)

/** Makes the call; whatever the answer is, it is none of a bug, and the store has changed only if it says so. */
export async function mustBeSane(api: TestAdmin, { verb, path, body, headers }: Call): Promise<{ changed: boolean }> {
  const before = await api.store.revision()
  const reading = verb === 'GET' || verb === 'HEAD' || verb === 'OPTIONS'
  const { status, text } = await raw(api.url, { verb, path, body: reading ? undefined : body, headers })
  const after = await api.store.revision()
  const what = `${verb} ${path} ${JSON.stringify(headers)} ${body} -> ${status} ${text}`
  assert.ok(status < 500, what)
  if (status >= 300 || reading) assert.equal(after, before, what)
  if (status >= 400 && verb !== 'HEAD') assert.ok(text.length > 10, what)
  return { changed: after > before }
}

function raw(url: string, { verb, path, body, headers }: Call): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const target = path.replace(/[^!-~]/g, character => encodeURIComponent(character))
    // Of a DELETE node:http would not say how long its body is.
    const length = body === undefined ? {} : { 'Content-Length': Buffer.byteLength(body) }
    const own = { 'X-API-KEY': adminKey, ...length }
    const outgoing = request(url, { method: verb, path: target, headers: { ...own, ...headers } })
    outgoing.on('error', reject).on('response', answer => {
      let text = ''
      answer.setEncoding('utf8').on('data', chunk => {
        text += chunk
      })
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text }))
    })
    outgoing.end(body)
  })
}
