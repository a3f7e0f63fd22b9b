// request-id as client, upstream and log see it.
import assert from 'node:assert/strict'
import { silent } from '../../core/observe/log.ts'
import { plugin } from '../../core/plugin.ts'
import requestId from '../../plugins/request-id.ts'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

const NOW = 1_700_000_000_123

/** Fails, so that there is a line about the request. */
const failing = plugin({
  name: 'failing',
  priority: 1,
  version: 1,
  schema: { type: 'object' },
  setup: () => ({
    access() {
      throw new Error('on purpose')
    },
  }),
})

describe('request-id', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  let said: Record<string, unknown>[]

  beforeEach(async () => {
    said = []
    upstream = await startUpstream()
    const log = { ...silent, error: (fields: object) => void said.push({ ...fields }) }
    gateway = await startGateway({ plugins: [failing], now: () => NOW, log })
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  async function configure(config: object, more: object = {}): Promise<void> {
    const plugins = { 'request-id': config, ...more }
    await gateway.put({
      routes: { 1: { uri: '/*', plugins, upstream: { type: 'roundrobin', nodes: upstream.nodes } } },
    })
    assert.deepEqual(gateway.rejected, [])
  }
  const ask = async (headers: Record<string, string> = {}) => {
    const answer = await fetch(gateway.url, { headers })
    await answer.arrayBuffer()
    return answer
  }

  const forms: Record<string, [config: object, form: RegExp]> = {
    uuid: [{}, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/],
    uuidv7: [{ algorithm: 'uuidv7' }, /^018bcfe5-687b-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/],
    nanoid: [{ algorithm: 'nanoid' }, /^[\w-]{21}$/],
    ksuid: [{ algorithm: 'ksuid' }, /^2YB[0-9A-Za-z]{24}$/],
    range_id: [{ algorithm: 'range_id' }, /^[a-zA-IK-Z0-9]{16}$/],
    'range_id of its own': [{ algorithm: 'range_id', range_id: { length: 7, char_set: 'abcdef' } }, /^[a-f]{7}$/],
  }
  for (const [what, [config, form]] of Object.entries(forms)) {
    it(`tells upstream and client another ${what} for every request`, async () => {
      await configure(config)
      const ids = new Set<string>()
      for (let n = 0; n < 5; n++) {
        const id = (await ask()).headers.get('x-request-id')!
        assert.match(id, form)
        assert.equal(upstream.received[n]!.headers['x-request-id'], id)
        ids.add(id)
      }
      assert.equal(ids.size, 5)
    })
  }

  it('keeps the id that a client has sent, under the name it is given', async () => {
    await configure({ header_name: 'X-Trace' })
    assert.equal((await ask({ 'x-trace': 'mine' })).headers.get('x-trace'), 'mine')
    assert.equal(upstream.received[0]!.headers['x-trace'], 'mine')
    const made = (await ask({ 'x-trace': '' })).headers.get('x-trace')!
    assert.match(made, /^[0-9a-f-]{36}$/)
    assert.deepEqual(upstream.received[1]!.headers['x-trace'], made)
    assert.equal((await ask()).headers.get('x-request-id'), null)
  })

  it('leaves the id in an answer alone, and adds none where it is told not to', async () => {
    await configure({})
    upstream.script = received => received.json(200, {}, { 'X-Request-Id': 'theirs' })
    assert.equal((await ask()).headers.get('x-request-id'), 'theirs')
    upstream.script = received => received.json(200, {})
    await configure({ include_in_response: false })
    assert.equal((await ask()).headers.get('x-request-id'), null)
    assert.ok(upstream.received[1]!.headers['x-request-id'])
  })

  it('is the id of the request in lines about it, and in variables', async () => {
    await configure(
      {},
      { failing: {}, 'response-rewrite': { headers: { set: { 'X-Known-As': '$apisix_request_id' } } } },
    )
    const answer = await ask({ 'x-request-id': 'mine' })
    assert.deepEqual([answer.status, answer.headers.get('x-known-as')], [500, 'mine'])
    assert.deepEqual([said[0]?.request_id, said[0]?.plugin], ['mine', 'failing'])
    const long = 'x'.repeat(5_000)
    await ask({ 'x-request-id': long })
    assert.equal(said[1]?.request_id, 'x'.repeat(128))
  })

  it('refuses what cannot be sent', () => {
    const range_id = { length: 16, char_set: 'abcdef' }
    const check = (config: object) => requestId.check!({ header_name: 'X-Request-Id', range_id, ...config })
    assert.equal(check({}), undefined)
    assert.match(check({ header_name: 'a b' })!, /no name of a header field/)
    assert.match(check({ range_id: { ...range_id, length: 1e9 } })!, /at most 1024/)
    assert.match(check({ range_id: { ...range_id, char_set: 'abcde\n' } })!, /printable ASCII/)
  })
})
