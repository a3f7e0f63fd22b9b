// ai-prompt-guard as clients and upstreams see it.
import assert from 'node:assert/strict'
import { type Logger, silent } from '../../../core/observe/log.ts'
import { configProblem } from '../../../core/resource/plugin-configs.ts'
import aiPromptGuard from '../../../plugins/ai-prompt-guard/ai-prompt-guard.ts'
import { startGateway, type TestGateway } from '../../helpers/gateway.ts'
import { type ScriptedUpstream, startUpstream } from '../../helpers/upstream.ts'

type Message = { role: string; content: unknown }
const user = (content: unknown): Message => ({ role: 'user', content })
const PASSES = undefined
const NOT_ALLOWED = "Request doesn't match allow patterns"
const PROHIBITED = 'Request contains prohibited content'
const UNKNOWN = 'Request format not recognized by ai-prompt-guard'

describe('ai-prompt-guard', () => {
  let upstream: ScriptedUpstream
  let gateway: TestGateway
  let lines: string[]

  beforeEach(async () => {
    upstream = await startUpstream()
    lines = []
  })
  afterEach(async () => {
    await gateway.close()
    await upstream.close()
  })

  /** What a request is refused with; undefined when it reached the upstream. */
  async function verdict(config: object, body: string | null, path = '/chat'): Promise<string | undefined> {
    const log: Logger = {
      ...silent,
      info: (_, text) => lines.push(`info ${text}`),
      warn: (_, text) => lines.push(`warn ${text}`),
    }
    const nodes = { [`127.0.0.1:${upstream.port}`]: 1 }
    const route = { uri: '/*', plugins: { 'ai-prompt-guard': config }, upstream: { type: 'roundrobin', nodes } }
    gateway = await startGateway({ resources: { routes: { 1: route } }, log })
    assert.deepEqual(gateway.rejected, [])
    const response = await fetch(gateway.url + path, { method: 'POST', body })
    if (response.status === 200) {
      assert.equal(upstream.received.length, 1)
      assert.equal((await upstream.received[0]!.body).toString(), body)
      return PASSES
    }
    assert.equal(upstream.received.length, 0)
    assert.equal(response.status, 400)
    return ((await response.json()) as { message: string }).message
  }

  const chat = (...messages: Message[]) => JSON.stringify({ messages })

  const cases: [string, object, Message[], string | undefined][] = [
    ['without patterns everything passes', {}, [user('x')], PASSES],
    ['what matches one allow pattern passes', { allow_patterns: ['nope', 'go+d'] }, [user('goood day')], PASSES],
    ['what matches no allow pattern is refused', { allow_patterns: ['nope', 'good'] }, [user('bad')], NOT_ALLOWED],
    ['what matches a deny pattern is refused', { deny_patterns: ['nope', 'ba.'] }, [user('so bad')], PROHIBITED],
    ['allow is asked before deny', { allow_patterns: ['good'], deny_patterns: ['bad'] }, [user('bad')], NOT_ALLOWED],
    [
      'deny binds what is allowed',
      { allow_patterns: ['good'], deny_patterns: ['bad'] },
      [user('good bad')],
      PROHIBITED,
    ],
    ['case counts', { deny_patterns: ['bad'] }, [user('BAD')], PASSES],
    ['case does not count behind (?i)', { deny_patterns: ['(?i)bad'] }, [user('BAD')], PROHIBITED],
    ['a dot may cross lines behind (?s)', { deny_patterns: ['(?is)a.b'] }, [user('A\nB')], PROHIBITED],
    ['characters count, not bytes', { deny_patterns: ['^.$'] }, [user('👋')], PROHIBITED],
    ['a needless escape is one character', { deny_patterns: ['\\"a\\-b}'] }, [user('"a-b}')], PROHIBITED],
    ['only the last message is looked at', { deny_patterns: ['bad'] }, [user('bad'), user('good')], PASSES],
    [
      'all messages are looked at when asked, joined by a space',
      { deny_patterns: ['bad good'], match_all_conversation_history: true },
      [user('bad'), { role: 'assistant', content: 'x' }, user('good')],
      PROHIBITED,
    ],
    ['only users are looked at', { deny_patterns: ['bad'] }, [{ role: 'system', content: 'bad' }], PASSES],
    [
      'all roles are looked at when asked',
      { deny_patterns: ['bad'], match_all_roles: true },
      [{ role: 'tool', content: 'bad' }],
      PROHIBITED,
    ],
    [
      'text parts are looked at, other parts are not',
      { deny_patterns: ['bad boy'], allow_patterns: ['bad'] },
      [
        user([
          { type: 'text', text: 'bad' },
          { type: 'image_url', text: 'x' },
          { type: 'text', text: 'boy' },
        ]),
      ],
      PROHIBITED,
    ],
    [
      'a turn after a tool’s result goes on',
      { allow_patterns: ['good'], deny_patterns: ['bad'] },
      [user('good'), { role: 'tool', content: 'bad' }],
      PASSES,
    ],
    ['a lone picture goes on', { allow_patterns: ['good'] }, [user([{ type: 'image_url' }])], PASSES],
  ]
  for (const [name, config, messages, expected] of cases) {
    it(name, async () => assert.equal(await verdict(config, chat(...messages)), expected))
  }

  const dialects = [
    ['/v1/messages', '{"messages":[{"role":"user","content":[{"type":"text","text":"bad"}]}]}'],
    ['/model/m/converse', '{"messages":[{"role":"user","content":[{"text":"bad"}]}]}'],
  ] as const
  for (const [path, body] of dialects) {
    it(`reads what is sent to ${path}`, async () =>
      assert.equal(await verdict({ deny_patterns: ['bad'] }, body, path), PROHIBITED))
  }

  const others: [string, object, object, string, string | undefined][] = [
    ['a response’s input is looked at', { deny_patterns: ['bad'] }, { input: 'bad' }, '/v1/responses', PROHIBITED],
    [
      'all of a response’s input is looked at, the last of it or not',
      { deny_patterns: ['bad'] },
      { input: ['bad', { role: 'user', content: 'good' }] },
      '/v1/responses',
      PROHIBITED,
    ],
    [
      'what a tool says in a response’s input counts as a user’s',
      { deny_patterns: ['bad'] },
      { input: [{ type: 'function_call_output', output: 'bad' }, 'good'] },
      '/v1/responses',
      PROHIBITED,
    ],
    [
      'instructions are the system’s',
      { deny_patterns: ['bad'] },
      { instructions: 'bad', input: 'good' },
      '/v1/responses',
      PASSES,
    ],
    ['a text to be embedded is looked at', { deny_patterns: ['bad'] }, { input: 'bad' }, '/v1/embeddings', PROHIBITED],
  ]
  for (const [name, config, body, path, expected] of others) {
    it(name, async () => assert.equal(await verdict(config, JSON.stringify(body), path), expected))
  }

  it('refuses a request without a body', async () => {
    assert.equal(await verdict({}, null), 'Empty request body')
  })

  it('refuses a body that is too large', async () => {
    assert.equal(await verdict({ max_req_body_size: 10 }, chat(user('x'))), 'Empty request body')
  })

  describe('with a request that it cannot read', () => {
    const unreadable: [string, string, string][] = [
      ['of no protocol', '{}', '/chat'],
      ['of a scalar', '5', '/chat'],
      ['that is passed through', '{"prompt":"bad"}', '/chat'],
      ['that only counts tokens', '{"messages":[{"role":"user","content":"bad"}]}', '/v1/messages/count_tokens'],
    ]
    for (const [name, body, path] of unreadable) {
      it(`${name} goes on by default, with a line in the log`, async () => {
        assert.equal(await verdict({ deny_patterns: ['bad'] }, body, path), PASSES)
        assert.deepEqual(lines, [`info ai-prompt-guard skipped: ${UNKNOWN}`])
      })
      it(`${name} goes on with a warning`, async () => {
        assert.equal(await verdict({ deny_patterns: ['bad'], fail_mode: 'warn' }, body, path), PASSES)
        assert.deepEqual(lines, [`warn ai-prompt-guard skipped: ${UNKNOWN}`])
      })
      it(`${name} is refused`, async () => {
        assert.equal(await verdict({ deny_patterns: ['bad'], fail_mode: 'error' }, body, path), UNKNOWN)
      })
    }

    it('that is no JSON does what fail_mode says, and the log line stays one short line', async () => {
      const body = `\n\r${'bad '.repeat(200)}`
      assert.equal(await verdict({ deny_patterns: ['bad'] }, body), PASSES)
      assert.equal(lines.length, 1)
      assert.match(lines[0]!, /^info ai-prompt-guard skipped: [^\p{Cc}]{1,256}$/u)
    })

    it('that is no JSON is refused with the parser’s words', async () => {
      assert.match((await verdict({ fail_mode: 'error' }, '{"messages":'))!, /JSON/)
    })
  })
})

describe('the config of ai-prompt-guard', () => {
  const problem = (config: object) =>
    configProblem(aiPromptGuard, 'config', config as Record<string, unknown>)?.replace(/^.* err: /, '')

  for (const [config, said] of [
    [{}, undefined],
    [{ allow_patterns: ['a{2}', '[^\\w\\s]+\\b', 'x}'], deny_patterns: ['(?i)é'] }, undefined],
    [{ allow_patterns: ['ok', '(?i)[a'] }, 'invalid allow_pattern: (?i)[a'],
    [{ deny_patterns: ['ok', 'a++'] }, 'invalid deny_pattern: a++'],
    // What only PCRE knows and JavaScript can be told.
    [{ deny_patterns: ['\\Abad\\z', '[[:alpha:]]x', '\\x{41}'] }, undefined],
    // What it cannot do.
    [{ deny_patterns: ['(?>a)b'] }, 'invalid deny_pattern: (?>a)b'],
    [{ deny_patterns: 'bad' }, 'property "deny_patterns" validation failed: wrong type: expected array, got string'],
    [{ fail_mode: 'x' }, 'property "fail_mode" validation failed: matches none of the enum values'],
    [{ max_req_body_size: 0 }, 'property "max_req_body_size" validation failed: expected 0 to be at least 1'],
  ] as const) {
    it(`${said === undefined ? 'may be' : 'is not'} ${JSON.stringify(config)}`, () => {
      assert.equal(problem(config), said)
    })
  }
})
