// Which values are kept out of logs: by names that everybody uses for credentials, and by those that the configuration names.
import assert from 'node:assert/strict'
import { isCredential, loggedField } from '../../../core/observe/credentials.ts'
import { makeContext } from '../../helpers/context.ts'
import { startGateway } from '../../helpers/gateway.ts'
import { openJournal } from '../../helpers/journal.ts'

describe('credentials in logs', () => {
  it('are known by their names, in any case', async () => {
    const ctx = await makeContext()
    for (const name of [
      'Authorization',
      'COOKIE',
      'x-api-key',
      'X-Amz-Security-Token',
      'client_secret',
      'sig',
      'apiKey',
    ])
      assert.equal(isCredential(ctx, name), true, name)
    for (const name of ['Accept', 'max_tokens', 'Idempotency-Key', 'monkey', 'keys', 'author', 'x-request-id'])
      assert.equal(isCredential(ctx, name), false, name)
  })

  it('are arguments of URLs too, in queries and behind them', async () => {
    const ctx = await makeContext()
    const shown = (value: string) => loggedField(ctx, 'location', value)
    assert.equal(shown('https://a/b?c=1&access_token=x&d=2'), 'https://a/b?c=1&access_token=[redacted]&d=2')
    assert.equal(shown('https://a/b#id_token=x&e=1'), 'https://a/b#id_token=[redacted]&e=1')
    assert.equal(shown('what? nothing=1'), 'what? nothing=1')
    assert.equal(loggedField(ctx, 'x-token', 'x'), '[redacted]')
  })

  it('are what any route looks for them in, also where another route answers, or none', async () => {
    const journal = openJournal()
    const route = (uri: string, plugins: object) => ({ uri, plugins, upstream: { nodes: { '127.0.0.1:1': 1 } } })
    const gateway = await startGateway({
      plugins: [journal.plugin],
      resources: {
        global_rules: { 1: { plugins: { journal: {} } } },
        routes: { 1: route('/a', { 'key-auth': { header: 'X-Who', query: 'Who' } }), 2: route('/b', {}) },
      },
    })
    for (const path of ['/b', '/c']) await (await fetch(gateway.url + path)).text()
    const [b, c] = journal.begun
    for (const ctx of [b!, c!]) for (const name of ['x-who', 'WHO']) assert.equal(isCredential(ctx, name), true)
    await gateway.close()
  })
})
