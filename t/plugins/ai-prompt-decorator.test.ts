// ai-prompt-decorator as clients and upstreams see it.
import assert from 'node:assert/strict'
import { configProblem } from '../../core/resource/plugin-configs.ts'
import aiPromptDecorator from '../../plugins/ai-prompt-decorator.ts'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

const system = { role: 'system', content: 's' }
const user = { role: 'user', content: 'u' }
const assistant = { role: 'assistant', content: 'a' }

describe('ai-prompt-decorator', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway

  beforeEach(async () => {
    upstream = await startUpstream()
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  async function start(config: object, plugins: object = {}): Promise<void> {
    const nodes = { [`127.0.0.1:${upstream.port}`]: 1 }
    const route = { uri: '/*', plugins: { 'ai-prompt-decorator': config, ...plugins }, upstream: { nodes } }
    gateway = await startGateway({ resources: { routes: { 1: route } } })
    assert.deepEqual(gateway.rejected, [])
  }

  const post = (path: string, body: string | null) => fetch(gateway.url + path, { method: 'POST', body })

  /** What the upstream gets of a body. */
  async function decorated(body: string, path = '/chat'): Promise<string> {
    const response = await post(path, body)
    assert.equal(response.status, 200)
    return (await upstream.received.at(-1)!.body).toString()
  }

  const own = { role: 'user', content: 'own' }
  const cases: [string, string, object, object][] = [
    ['chat', '/chat', { messages: [own] }, { messages: [system, user, own, assistant, user] }],
    ['chat without a message', '/chat', { messages: [] }, { messages: [system, user, assistant, user] }],
    ['an empty object, which is taken for chat', '/x', {}, { messages: [system, user, assistant, user] }],
    [
      'Anthropic, whose system prompt has a place of its own',
      '/v1/messages',
      { system: 'mine', messages: [own] },
      { system: 's\nmine', messages: [user, own, assistant, user] },
    ],
    [
      'Converse',
      '/model/m/converse',
      { messages: [] },
      {
        messages: [
          { role: 'user', content: [{ text: 'u' }] },
          { role: 'assistant', content: [{ text: 'a' }] },
          { role: 'user', content: [{ text: 'u' }] },
        ],
        system: [{ text: 's' }],
      },
    ],
    [
      'a response’s instructions and input',
      '/v1/responses',
      { instructions: 'mine', input: 'own' },
      { instructions: 's\nu\nmine', input: 'own\na\nu' },
    ],
    [
      'a response’s input that is a list',
      '/v1/responses',
      { input: [own] },
      { input: [own, { type: 'message', role: 'user', content: 'a\nu' }], instructions: 's\nu' },
    ],
    ['embeddings not at all', '/v1/embeddings', { input: 'own' }, { input: 'own' }],
    ['nothing that is passed through', '/x', { prompt: 'own' }, { prompt: 'own' }],
    ['no list', '/x', [], []],
  ]
  for (const [what, path, body, expected] of cases) {
    it(`decorates ${what}`, async () => {
      await start({ prepend: [system, user], append: [assistant, user] })
      assert.deepEqual(JSON.parse(await decorated(JSON.stringify(body), path)), expected)
    })
  }

  it('leaves every other byte alone, and adds nothing to the next request', async () => {
    await start({ prepend: [system] })
    const body = '{"seed": 12345678901234567890, "messages": [{"role":"user","content":"caf\\u00e9"}]}'
    for (let time = 0; time < 2; time++)
      assert.equal(await decorated(body), body.replace('[{', `[${JSON.stringify(system)},{`))
    assert.equal(await decorated('{"prompt" : 1}'), '{"prompt" : 1}')
  })

  it('puts prompts where ai-prompt-guard sees them', async () => {
    await start({ append: [{ role: 'user', content: 'bad' }] }, { 'ai-prompt-guard': { deny_patterns: ['bad'] } })
    assert.equal((await post('/chat', JSON.stringify({ messages: [own] }))).status, 400)
  })

  it('refuses what is no JSON object, has nothing in it, or is too large', async () => {
    await start({ prepend: [system], max_req_body_size: 20 })
    for (const [body, said] of [
      [null, /^could not get body: request body is empty$/],
      ['{"messages":', /^could not parse JSON request body: /],
      ['null', /^could not parse JSON request body: invalid JSON$/],
      [
        `{"messages":"${'x'.repeat(20)}"}`,
        /^could not get body: request size 35 is greater than the maximum size 20 allowed$/,
      ],
    ] as const) {
      const response = await post('/chat', body)
      assert.equal(response.status, 400)
      assert.match(((await response.json()) as { message: string }).message, said)
    }
    assert.equal(upstream.received.length, 0)
  })

  for (const [config, said] of [
    [{ prepend: [] }, undefined],
    [{ append: [user] }, undefined],
    [{}, /validat|match|required/],
    [{ prepend: [{ role: 'tool', content: 'x' }] }, /matches none of the enum values/],
    [{ prepend: [{ role: 'user', content: '' }] }, /content/],
    [{ prepend: [{ role: 'user' }] }, /property "content" is required/],
  ] as const) {
    it(`${said === undefined ? 'may be' : 'is not'} configured as ${JSON.stringify(config)}`, () => {
      const problem = configProblem(aiPromptDecorator, 'config', config as Record<string, unknown>)
      if (said === undefined) assert.equal(problem, undefined)
      else assert.match(problem!, said)
    })
  }

  it('hides from guards nothing of what the client has said last', async () => {
    for (const append of [[user], [system], [assistant, user]]) {
      await start({ append }, { 'ai-prompt-guard': { deny_patterns: ['forbidden'] } })
      const said = (content: string) => post('/chat', JSON.stringify({ messages: [{ role: 'user', content }] }))
      assert.equal((await said('something forbidden')).status, 400)
      assert.equal((await said('something else')).status, 200)
      await gateway.close()
    }
  })
})
