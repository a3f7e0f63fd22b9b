// docs/budgets.md: its worked example is played, and every figure in it is what a gateway says.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import type { AccountView } from '../core/budgets/view.ts'
import { startAdmin } from './helpers/admin.ts'
import { startGateway, type TestGateway } from './helpers/gateway.ts'
import { until } from './helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'

const page = readFileSync(new URL('../docs/budgets.md', import.meta.url), 'utf8')
const [metadata, budgets, account] = [...page.matchAll(/^```json\n(.*?)^```/gms)].map(
  ([, text]) => JSON.parse(text!) as Record<string, unknown>,
)
/** Rows of the example, cell by cell. */
const rows = [...page.matchAll(/^\| (\d+ \w+ 2026 \d\d:\d\d) +\|(.*)\|$/gm)].map(([, when, rest]) => ({
  at: Date.parse(`${when} GMT+0200`),
  cells: rest!.split('|').map(cell => cell.trim().replaceAll(',', '')),
}))

/** A body of so many bytes. */
function bodyOf(bytes: number): string {
  const body = (content: string) =>
    JSON.stringify({ model: 'gpt-4o-mini', max_tokens: 8_000, messages: [{ role: 'user', content }] })
  return body('x'.repeat(bytes - body('').length))
}

describe('the page on budgets', function () {
  this.timeout(30_000)
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  const clock = { now: 0 }

  before(async () => {
    upstream = await startUpstream()
    const endpoint = `${upstream.origin}/v1/chat/completions`
    const aiProxy = { provider: 'openai', auth: { header: { Authorization: 'Bearer x' } }, override: { endpoint } }
    gateway = await startGateway({
      now: () => clock.now,
      resources: {
        plugin_metadata: { 'ai-budget': { ...metadata, webhook: { uri: `${upstream.origin}/hook` } } },
        consumer_groups: { research: { plugins: {} } },
        consumers: { ada: { username: 'ada', group_id: 'research', plugins: { 'key-auth': { key: 'ada' } } } },
        routes: { 1: { uri: '/v1/*', plugins: { 'key-auth': {}, 'ai-proxy': aiProxy, 'ai-budget': budgets } } },
      },
    })
    assert.deepEqual(gateway.rejected, [])
  })
  after(async () => {
    await gateway.close()
    await upstream.close()
  })

  const stands = async (): Promise<AccountView> => {
    const kept = gateway.books.accounts.find('research', 'consumer_group:research')
    return await gateway.books.view(kept!)
  }
  const same = (shown: unknown, written: string | undefined) => assert.equal(Number(shown), Number(written))

  it('says of each request what is reserved, what it costs and what is left', async () => {
    assert.equal(rows.length, 5)
    for (const { at, cells } of rows) {
      const [fresh, cached, output, reserved, costs, spent, left] = cells
      clock.now = at
      const before = gateway.books.accounts.find('research', 'consumer_group:research') && (await stands())
      let held: AccountView | undefined
      upstream.script = async received => {
        if (received.target === '/hook') return received.json(200, {})
        held = await stands()
        const prompt = Number(fresh) + Number(cached)
        const usage = {
          prompt_tokens: prompt,
          prompt_tokens_details: { cached_tokens: Number(cached) },
          completion_tokens: Number(output),
          total_tokens: prompt + Number(output),
        }
        received.json(200, { choices: [{ index: 0, message: { role: 'assistant', content: 'Yes.' } }], usage })
      }
      const response = await fetch(`${gateway.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', apikey: 'ada' },
        body: bodyOf(480_000),
      })
      await response.text()
      await until(() => gateway.gateway.inFlight === 0, 'the request has logged')
      const after = await stands()
      if (costs === 'refused') assert.deepEqual([response.status, held], [429, undefined])
      else {
        assert.equal(response.status, 200)
        same(held!.reserved, reserved)
        const earlier = before?.window.start === after.window.start ? Number(before!.spent) : 0
        same((Number(after.spent) - earlier).toFixed(9), costs)
      }
      same(after.spent, spent)
      same(after.available, left)
      await gateway.books.write()
    }
  })

  it('shows the account as the admin API does', async () => {
    const api = await startAdmin({ books: gateway.books })
    const path = '/budgets/research/consumer_group:research'
    assert.equal((await api.admin('POST', `${path}/top_up`, { amount: '0.50' })).status, 200)
    clock.now += 86_400_000
    const { json } = await api.admin('GET', path)
    await api.close()
    assert.deepEqual(json, account)
  })
})
