// Which models may be asked for, at the front door.
import assert from 'node:assert/strict'
import OpenAI, { PermissionDeniedError } from 'openai'
import { configProblem } from '../../core/resource/plugin-configs.ts'
import aiModelAccess from '../../plugins/ai-model-access.ts'
import { startGateway, type TestGateway } from '../helpers/gateway.ts'
import { type ScriptedUpstream, startUpstream } from '../helpers/upstream.ts'

const config = { models: ['gpt-4o*', 'o3'], aliases: { fast: 'gpt-4o-mini', o3: 'o3-pro' } }

describe('ai-model-access', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway

  beforeEach(async () => {
    upstream = await startUpstream(received => received.json(200, { choices: [] }))
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  async function start(access: object, more: object = {}): Promise<void> {
    const aiProxy = { provider: 'openai-compatible', auth: {}, override: { endpoint: upstream.origin } }
    gateway = await startGateway({
      resources: {
        routes: { 1: { uri: '/*', plugins: { 'ai-proxy': aiProxy, 'ai-model-access': access, ...more } } },
        consumers: {
          ann: { username: 'ann', plugins: { 'key-auth': { key: 'of-ann' }, 'ai-model-access': { models: ['o4'] } } },
          bob: { username: 'bob', plugins: { 'key-auth': { key: 'of-bob' } } },
          cyd: { username: 'cyd', group_id: 'few', plugins: { 'key-auth': { key: 'of-cyd' } } },
        },
        consumer_groups: { few: { plugins: { 'ai-model-access': { models: ['o5'] } } } },
      },
    })
    assert.deepEqual(gateway.rejected, [])
  }

  async function ask(body: string, path = '/v1/chat/completions', headers: Record<string, string> = {}) {
    const response = await fetch(gateway.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body,
    })
    return { status: response.status, body: (await response.json()) as { error?: { code: string; message: string } } }
  }
  const chat = (model: unknown) => JSON.stringify({ model, messages: [] })
  const sentLast = async () => (await upstream.received.at(-1)!.body).toString()

  it('lets through what is allowed, byte for byte', async () => {
    await start(config)
    for (const body of ['{ "model":"gpt-4o", "messages":[] }', '{"messages":[],"model" : "gpt-4o-2024-11-20"}\n']) {
      assert.equal((await ask(body)).status, 200)
      assert.equal(await sentLast(), body)
    }
  })

  it('puts the model in the place of its alias, and changes nothing else', async () => {
    await start(config)
    await ask('{ "messages":[ ], "model": "fast" , "é":"\\u00e9" }')
    assert.equal(await sentLast(), '{ "messages":[ ], "model": "gpt-4o-mini" , "é":"\\u00e9" }')
    await ask(chat('o3'))
    assert.equal(await sentLast(), chat('o3-pro'))
  })

  it('knows the model that a client of AWS names in the path', async () => {
    const aws = { access_key_id: 'A', secret_access_key: 'S' }
    const override = { endpoint: upstream.origin }
    const bedrock = { provider: 'bedrock', auth: { aws }, provider_conf: { region: 'r' }, override }
    await start({ models: ['claude*'], aliases: { fast: 'nova' }, default: 'claude' }, { 'ai-proxy': bedrock })
    const paths = ['/model/claude-5/converse', '/model/fast/converse-stream', '/model/opus/converse', '/converse']
    const statuses: number[] = []
    for (const path of paths) statuses.push((await ask('{"messages":[]}', path)).status)
    assert.deepEqual(statuses, [200, 200, 403, 200])
    assert.deepEqual(
      upstream.received.map(({ target }) => target),
      ['/model/claude-5/converse', '/model/nova/converse-stream', '/model/claude/converse'],
    )
    // Its body is not read: the default would be said beside the model that is asked.
    assert.equal((await ask('{"prompt":"hi"}', '/model/opus/invoke')).status, 403)
  })

  it('refuses everything else, and asks nobody', async () => {
    await start(config)
    for (const model of ['gpt-4', 'o3-mini', 'GPT-4o', 'toString', '', 5, null, ['gpt-4o'], undefined]) {
      const { status, body } = await ask(chat(model))
      assert.deepEqual([status, body.error!.code], [403, 'model_not_found'], String(model))
    }
    assert.equal((await ask('[{"model":"gpt-4o"}]')).status, 403)
    assert.equal(upstream.received.length, 0)
  })

  it('refuses a request whose readers would not agree on its model', async () => {
    await start(config)
    for (const body of [
      '{"model":"o4","model":"gpt-4o","messages":[]}',
      '{"Model":"o4","messages":[],"model":"gpt-4o"}',
      '{"model":"gpt-4o","messages":[],"mod\\u0065l":"gpt-4o"}',
    ]) {
      const { status, body: said } = await ask(body)
      assert.deepEqual([status, said.error!.code], [400, 'model_ambiguous'], body)
    }
    assert.equal((await ask('{"model":"gpt-4o","messages":[{"model":"x"}],"models":1}')).status, 200)
  })

  it('gives a request without a model the default', async () => {
    await start({ ...config, default: 'fast' })
    await ask('{"messages":[]}')
    assert.equal(await sentLast(), '{"messages":[],"model":"gpt-4o-mini"}')
  })

  it('only renames where no models are listed', async () => {
    await start({ aliases: { fast: 'gpt-4o-mini' } })
    for (const [asked, sent] of [
      [chat('anything'), chat('anything')],
      [chat('fast'), chat('gpt-4o-mini')],
      ['{"messages":[]}', '{"messages":[]}'],
    ] as const) {
      assert.equal((await ask(asked)).status, 200)
      assert.equal(await sentLast(), sent)
    }
  })

  it('knows the model in every protocol', async () => {
    await start(config)
    for (const [path, body] of [
      ['/v1/responses', '{"input":"x","model":"o4"}'],
      ['/v1/embeddings', '{"input":"x","model":"o4"}'],
      ['/v1/images', '{"prompt":"x","model":"o4"}'],
      ['/v1/messages/count_tokens', '{"messages":[],"model":"o4"}'],
    ] as const) {
      assert.equal((await ask(body, path)).status, 403, path)
      assert.equal((await ask(body.replace('o4', 'o3'), path)).status, 200, path)
      assert.equal(await sentLast(), body.replace('o4', 'o3-pro'))
    }
    assert.equal((await fetch(`${gateway.url}/v1/models`)).status, 200)
  })

  it('takes the list of the consumer before that of its group, and both before that of the route', async () => {
    await start(config, { 'key-auth': {} })
    const allowed = async (key: string, model: string) =>
      (await ask(chat(model), undefined, { apikey: key })).status === 200
    assert.deepEqual(
      [await allowed('of-ann', 'o4'), await allowed('of-ann', 'gpt-4o'), await allowed('of-bob', 'gpt-4o')],
      [true, false, true],
    )
    assert.equal(await allowed('of-bob', 'o4'), false)
    assert.deepEqual([await allowed('of-cyd', 'o5'), await allowed('of-cyd', 'gpt-4o')], [true, false])
  })

  it('is told to the openai SDK as an error that it knows, also for a stream', async () => {
    await start(config)
    const openai = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: 'k', maxRetries: 0 })
    for (const stream of [false, true]) {
      const asked = openai.chat.completions.create({ model: 'o4', messages: [], stream })
      await assert.rejects(asked, thrown => {
        assert.ok(thrown instanceof PermissionDeniedError)
        assert.deepEqual([thrown.code, thrown.type], ['model_not_found', 'invalid_request_error'])
        assert.match(thrown.message, /the model o4 does not exist, or you may not use it/)
        return true
      })
    }
  })

  it('leaves requests alone that are no calls to an LLM', async () => {
    gateway = await startGateway({
      resources: {
        routes: { 1: { uri: '/*', plugins: { 'ai-model-access': config }, upstream: { nodes: upstream.nodes } } },
      },
    })
    assert.equal((await ask(chat('o4'))).status, 200)
  })
})

describe('the config of ai-model-access', () => {
  const problem = (value: object) =>
    configProblem(aiModelAccess, 'config', value as Record<string, unknown>)?.replace(/^.* err: /, '')

  for (const good of [{}, config, { models: ['*'] }, { ...config, default: 'gpt-4o' }, { ...config, _meta: {} }]) {
    it(`may be ${JSON.stringify(good)}`, () => assert.equal(problem(good), undefined))
  }

  const wrong: [object, string][] = [
    [{ models: [] }, 'property "models" validation failed: expect array to have at least 1 items'],
    [{ models: ['a*b'] }, 'models: a*b has a * that is not its end'],
    [{ ...config, default: 'o4' }, 'default is neither an alias nor one of models'],
    [{ allow: ['x'] }, 'additional properties forbidden, found allow'],
    [
      { aliases: { a: 5 } },
      'property "aliases" validation failed: failed to validate additional property a: wrong type: expected string, got number',
    ],
  ]
  for (const [value, said] of wrong) {
    it(`is not ${JSON.stringify(value)}`, () => assert.equal(problem(value), said))
  }
})
