// public-api as clients see it.
import assert from 'node:assert/strict'
import { plugin, reply } from '../../core/sluice.ts'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'

const teller = plugin({
  name: 'teller',
  priority: 1,
  version: 1,
  schema: { type: 'object' },
  endpoints: [
    {
      methods: ['GET', 'POST'],
      path: '/own/time',
      answer: async (ctx, { now }) =>
        reply(200, { method: ctx.request.method, now: now(), id: ctx.request.query('id') }),
    },
  ],
  setup: () => ({}),
})

describe('public-api', () => {
  let gateway: TestGateway

  beforeEach(async () => {
    gateway = await startGateway({
      plugins: [teller],
      now: () => 5,
      resources: {
        routes: {
          same: { uri: '/own/*', plugins: { 'public-api': {} } },
          alias: { uri: '/time', plugins: { 'public-api': { uri: '/own/time' } } },
        },
      },
    })
    assert.deepEqual(gateway.rejected, [])
  })
  afterEach(() => gateway.close())

  it('answers with the endpoint of a plugin, by its own path or under another, whether or not a route has the plugin', async () => {
    assert.deepEqual(await (await fetch(`${gateway.url}/own/time?id=1`)).json(), { method: 'GET', now: 5, id: '1' })
    const posted = await fetch(`${gateway.url}/time`, { method: 'POST' })
    assert.deepEqual(await posted.json(), { method: 'POST', now: 5 })
  })

  it('knows no other method and no other path', async () => {
    for (const [method, path] of [
      ['PUT', '/own/time'],
      ['GET', '/own/times'],
    ] as const) {
      const answer = await fetch(gateway.url + path, { method })
      assert.deepEqual([answer.status, ((await answer.json()) as { code: string }).code], [404, 'endpoint_not_found'])
    }
  })
})
