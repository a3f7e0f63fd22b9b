// What the admin API says of bodies that it cannot use.
import assert from 'node:assert/strict'
import { request } from 'node:http'
import { maxBodyBytes } from '../../admin/request-body.ts'
import { adminKey, startAdmin, type TestAdmin } from '../helpers/admin.ts'

describe('a request body', () => {
  let api: TestAdmin

  beforeEach(async () => {
    api = await startAdmin()
  })
  afterEach(async () => {
    assert.equal((await api.store.list()).revision, 0)
    await api.close()
  })

  /** Sends the parts as a chunked body, or what `send` does. */
  function raw(parts: readonly (string | Buffer)[]): Promise<{ status: number | undefined; text: string }> {
    return new Promise((resolve, reject) => {
      const headers = { 'X-API-KEY': adminKey }
      const outgoing = request(`${api.url}/apisix/admin/routes/1`, { method: 'PUT', headers }, answer => {
        let text = ''
        answer.setEncoding('utf8').on('data', chunk => {
          text += chunk
        })
        answer.on('end', () => resolve({ status: answer.statusCode, text }))
      })
      outgoing.on('error', reject)
      for (const part of parts) outgoing.write(part)
      outgoing.end()
    })
  }

  it('that is not JSON comes back with what the parser says', async () => {
    for (const body of ['{"uri": "/a",}', '{', 'uri=/a', '"\u0001"', ' ']) {
      const reply = await api.admin('PUT', '/routes/1', body)
      assert.equal(reply.status, 400)
      assert.match(reply.json.error_msg, /^invalid request body: .+/)
      assert.equal(reply.json.req_body, body)
      assert.equal(reply.headers.get('connection'), 'keep-alive')
    }
  })

  it('that is not UTF-8 is refused', async () => {
    const { status, text } = await raw([Buffer.from([0x22, 0xff, 0x22])])
    assert.deepEqual([status, text], [400, '{"error_msg":"invalid request body: not UTF-8"}\n'])
  })

  it('that is a trap or too deep is refused', async () => {
    const trap = await api.admin('PUT', '/routes/1', '{"uri":"/a","plugins":{},"labels":{"__proto__":"x"}}')
    assert.deepEqual(trap.json, { error_msg: 'invalid request body: the name __proto__ is not allowed' })
    const deep = await api.admin('PUT', '/routes/1', '['.repeat(700_000) + ']'.repeat(700_000))
    assert.deepEqual(deep.json, { error_msg: 'invalid request body: nested deeper than 100 levels' })
    assert.equal(deep.status, 400)
  })

  it('over the limit is refused and its sender hears why, with or without a length', async () => {
    const big = JSON.stringify({ uri: '/a', plugins: {}, desc: 'x'.repeat(maxBodyBytes) })
    const size = Buffer.byteLength(big)
    const said = {
      error_msg: `invalid request body: request size ${size} is greater than the maximum size 1572864 allowed`,
    }
    const whole = await api.admin('PUT', '/routes/1', big)
    assert.deepEqual([whole.status, whole.json], [400, said])
    const chunked = await raw([big.slice(0, 1000), big.slice(1000)])
    assert.deepEqual([chunked.status, JSON.parse(chunked.text)], [400, said])
  })

  it('at the limit is read', async () => {
    const empty = JSON.stringify({ uri: '/a', plugins: {}, desc: '' })
    const full = JSON.stringify({ uri: '/a', plugins: {}, desc: 'x'.repeat(maxBodyBytes - empty.length) })
    const reply = await api.admin('PUT', '/routes/1', full)
    assert.match(reply.json.error_msg, /property "desc" validation failed: string too long/)
  })

  it('without end is cut off', async () => {
    const headers = { 'X-API-KEY': adminKey }
    const outgoing = request(`${api.url}/apisix/admin/routes/1`, { method: 'PUT', headers })
    const cut = new Promise(resolve => outgoing.on('error', resolve).on('close', resolve))
    let sent = 0
    const more = () => {
      while (sent < 100 * maxBodyBytes && !outgoing.destroyed) {
        sent += maxBodyBytes
        if (!outgoing.write(Buffer.alloc(maxBodyBytes))) return
      }
      outgoing.end()
    }
    outgoing.on('drain', more)
    more()
    await cut
    assert.ok(sent < 50 * maxBodyBytes, `${sent} bytes`)
  })

  it('is not read from somebody without a key', async () => {
    const reply = await api.admin('PUT', '/routes/1', 'no json', 'wrong')
    assert.equal(reply.status, 401)
  })
})
