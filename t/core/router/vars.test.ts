// What variables say of a request, and what text they make.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: that is how templates of APISIX look
import assert from 'node:assert/strict'
import { hostname } from 'node:os'
import type { Context } from '../../../core/context.ts'
import { exchange, openExchange } from '../../../core/llm/exchange.ts'
import { HeaderList } from '../../../core/reply.ts'
import { compileTemplate, resolveTemplate } from '../../../core/router/template.ts'
import { variable } from '../../../core/router/vars.ts'
import { attempt, makeContext } from '../../helpers/context.ts'

describe('a variable', () => {
  it('names a part of the request', async () => {
    const ctx = await makeContext({
      method: 'POST',
      target: '/a//b/%41?x=1&x=2&Y=%20z',
      headers: { Host: 'Example.com:8080', 'X-Api-Version': 'v1', under_score: 'u', Cookie: 'a=1; session=abc=' },
    })
    for (const [name, value] of Object.entries({
      uri: '/a/b/A',
      request_uri: '/a/b/A?x=1&x=2&Y=%20z',
      real_request_uri: '/a//b/%41?x=1&x=2&Y=%20z',
      request: 'POST /a//b/%41?x=1&x=2&Y=%20z HTTP/1.1',
      args: 'x=1&x=2&Y=%20z',
      query_string: 'x=1&x=2&Y=%20z',
      is_args: '?',
      arg_x: '1',
      arg_Y: ' z',
      arg_y: undefined,
      host: 'example.com',
      http_host: 'Example.com:8080',
      http_x_api_version: 'v1',
      http_X_Api_Version: 'v1',
      http_under_score: 'u',
      http_nothing: undefined,
      cookie_session: 'abc=',
      cookie_a: '1',
      cookie_b: undefined,
      request_method: 'POST',
      method: 'POST',
      scheme: 'http',
      hostname: hostname(),
      pid: String(process.pid),
      request_id: ctx.id,
      apisix_request_id: ctx.id,
      route_id: undefined,
      consumer_name: undefined,
      upstream_addr: undefined,
      status: undefined,
      nothing_of_the_kind: undefined,
      constructor: undefined,
    }))
      assert.equal(variable(ctx, name), value, name)
  })

  it('names what a client said of how it was forwarded, believed or not', async () => {
    const ctx = await makeContext({ headers: { 'X-Forwarded-For': '1.1.1.1' } })
    const disbelieved = [
      'x-forwarded-host',
      'a',
      'Forwarded',
      'for=1.1.1.1',
      'X-Forwarded-Host',
      'b',
      'X-Consumer',
      'c',
    ]
    Object.assign(ctx.request, { disbelieved })
    const values = ['for', 'host', 'port', 'proto'].map(name => variable(ctx, `original_x_forwarded_${name}`))
    assert.deepEqual(values, ['1.1.1.1', 'a, b', undefined, undefined])
    assert.equal(variable(ctx, 'original_forwarded'), 'for=1.1.1.1')
  })

  it('has what the wildcards of the route took, once it is matched', async () => {
    const ctx = await makeContext({ target: '/users/7/files/a/b?id=9' })
    assert.equal(variable(ctx, 'uri_param_id'), undefined)
    ctx.route = { id: 'r', name: undefined, matchedUri: '/users/:id/*', matchedHost: '', service: undefined }
    assert.equal(variable(ctx, 'uri_param_id'), '7')
    assert.equal(variable(ctx, 'uri_param_:ext'), 'files/a/b')
    assert.equal(variable(ctx, 'uri_param_other'), undefined)
  })

  it('names the route and who asks', async () => {
    const ctx = await makeContext()
    ctx.route = { id: 'r1', name: 'chat', matchedUri: '/*', matchedHost: '', service: { id: 's1', name: 'svc' } }
    ctx.consumer = { username: 'jack', labels: {}, auth: {} }
    const values = ['route_id', 'route_name', 'service_id', 'service_name', 'consumer_name'].map(n => variable(ctx, n))
    assert.deepEqual(values, ['r1', 'chat', 's1', 'svc', 'jack'])
  })

  it('lists every attempt as nginx does', async () => {
    const ctx = await makeContext()
    ctx.attempts.push(
      attempt({ address: '10.0.0.1:80', status: 502, connectMs: undefined, headerMs: undefined, responseMs: 1500 }),
      attempt({ address: '[::1]:8080' }),
    )
    assert.equal(variable(ctx, 'upstream_addr'), '10.0.0.1:80, [::1]:8080')
    assert.equal(variable(ctx, 'upstream_status'), '502, 200')
    assert.equal(variable(ctx, 'upstream_response_time'), '1.500, 0.004')
    assert.equal(variable(ctx, 'upstream_header_time'), '-, 0.002')
    assert.equal(variable(ctx, 'upstream_response_length'), '10, 10')
    assert.equal(variable(ctx, 'balancer_ip'), '[::1]')
    assert.equal(variable(ctx, 'balancer_port'), '8080')
  })

  it('tells of the response when there is one', async () => {
    const ctx = await makeContext()
    const headers = new HeaderList(['Content-Type', 'text/plain'])
    ctx.reply = { status: 418, headers, body: null, source: 'gateway' }
    ctx.bodyBytesSent = 7
    ctx.ending = 'complete'
    ctx.endTick = ctx.startTick + 1234.4
    assert.equal(variable(ctx, 'status'), '418')
    assert.equal(variable(ctx, 'sent_http_content_type'), 'text/plain')
    assert.equal(variable(ctx, 'body_bytes_sent'), '7')
    assert.equal(variable(ctx, 'bytes_sent'), String('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n'.length + 7))
    assert.equal(variable(ctx, 'request_time'), '1.234')
    assert.equal(variable(ctx, 'msec'), '1700000001.357')
  })

  it('tells the time in the zone of the gateway', async () => {
    const now = Date.parse('2026-02-01T10:11:12Z')
    const ctx = await makeContext({ now })
    ctx.ending = 'complete'
    ctx.endTick = ctx.startTick
    const iso = String(variable(ctx, 'time_iso8601'))
    assert.match(iso, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d$/)
    assert.equal(Date.parse(iso), now)
    assert.match(String(variable(ctx, 'time_local')), /^\d\d\/(Jan|Feb)\/2026:\d\d:\d\d:12 [+-]\d{4}$/)
  })

  it('counts the bytes of the request', async () => {
    const ctx = await makeContext({ method: 'POST', target: '/a?b', body: 'hello' })
    const wire = 'POST /a?b HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\n\r\nhello'
    assert.equal(variable(ctx, 'request_length'), String(wire.length))
  })

  it('looks into a body that is in memory', async () => {
    const json = await makeContext({
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: '{"model":"m","n":2,"stream":true,"messages":[{"role":"user"}]}',
    })
    for (const [name, value] of Object.entries({
      'post_arg.model': 'm',
      'post_arg.n': 2,
      'post_arg.stream': 'true',
      'post_arg.messages[0].role': 'user',
      'post_arg.messages[1].role': undefined,
      'post_arg.messages': undefined,
      'post_arg.__proto__': undefined,
      post_arg_model: undefined,
    }))
      assert.equal(variable(json, name), value, name)
    json.body.replace(Buffer.from('{"model":"other"}'))
    assert.equal(variable(json, 'post_arg.model'), 'other')

    const form = await makeContext({
      method: 'POST',
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
      body: 'a=1&b=x%20y',
    })
    assert.equal(variable(form, 'post_arg_b'), 'x y')
    assert.equal(variable(form, 'post_arg.a'), '1')
    assert.equal(variable(form, 'post_arg_c'), undefined)
  })
})

describe('a variable of a call to an LLM', () => {
  const names = [
    ...['request_type', 'request_llm_model', 'llm_model', 'llm_time_to_first_token', 'apisix_upstream_response_time'],
    ...['llm_prompt_tokens', 'llm_completion_tokens', 'llm_total_tokens', 'llm_cache_read_input_tokens'],
    ...['llm_cache_creation_input_tokens', 'llm_reasoning_tokens', 'llm_stream', 'llm_has_tool_calls'],
    ...['llm_tool_count', 'llm_end_user_id', 'llm_content_risk_level', 'upstream_uri', 'upstream_host'],
    ...['upstream_scheme', 'llm_cut_by', 'balancer_ip'],
  ]
  const values = (ctx: Context) => Object.fromEntries(names.map(name => [name, variable(ctx, name)]))
  const asked = {
    protocol: 'openai-chat',
    requestType: 'ai_stream',
    requestModel: 'asked',
    instance: 'ai-proxy-openai',
    logging: { summaries: false, payloads: false },
  } as const
  const initial = {
    request_type: 'traditional_http',
    request_llm_model: '',
    llm_model: '',
    llm_time_to_first_token: 0,
    apisix_upstream_response_time: undefined,
    llm_prompt_tokens: 0,
    llm_completion_tokens: 0,
    llm_total_tokens: 0,
    llm_cache_read_input_tokens: 0,
    llm_cache_creation_input_tokens: 0,
    llm_reasoning_tokens: 0,
    llm_stream: 'false',
    llm_has_tool_calls: 'false',
    llm_tool_count: 0,
    llm_end_user_id: '',
    llm_content_risk_level: '',
    // What nginx has them set to before an upstream is asked.
    upstream_uri: '',
    upstream_host: 'gateway.test',
    upstream_scheme: 'http',
    llm_cut_by: undefined,
    balancer_ip: undefined,
  }

  it('has a value where there is no such call', async () => {
    assert.deepEqual(values(await makeContext()), initial)
  })

  it('knows before the first attempt only what the client asked', async () => {
    const ctx = await makeContext()
    exchange.set(ctx, openExchange(asked))
    assert.deepEqual(values(ctx), {
      ...initial,
      request_type: 'ai_stream',
      request_llm_model: 'asked',
      balancer_ip: 'ai-proxy-openai',
    })
  })

  it('knows after it what was asked of whom, what came back, and why no more', async () => {
    const ctx = await makeContext()
    exchange.set(ctx, {
      ...openExchange(asked),
      model: 5,
      upstream: { scheme: 'https', host: 'llm.test', path: '/v1/chat' },
      timeToFirstTokenMs: 12,
      upstreamMs: 34,
      usage: { prompt: 1, completion: 2, total: 3, cacheRead: 4, cacheCreation: 5, reasoning: 6 },
      toolCount: 7,
      hasToolCalls: true,
      endUserId: 'u',
      cutBy: 'idle_timeout',
    })
    assert.deepEqual(values(ctx), {
      request_type: 'ai_stream',
      request_llm_model: 'asked',
      llm_model: '5',
      llm_time_to_first_token: 12,
      apisix_upstream_response_time: 34,
      llm_prompt_tokens: 1,
      llm_completion_tokens: 2,
      llm_total_tokens: 3,
      llm_cache_read_input_tokens: 4,
      llm_cache_creation_input_tokens: 5,
      llm_reasoning_tokens: 6,
      llm_stream: 'true',
      llm_has_tool_calls: 'true',
      llm_tool_count: 7,
      llm_end_user_id: 'u',
      llm_content_risk_level: '',
      upstream_uri: '/v1/chat',
      upstream_host: 'llm.test',
      upstream_scheme: 'https',
      llm_cut_by: 'idle_timeout',
      balancer_ip: 'ai-proxy-openai',
    })
  })
})

describe('a template', () => {
  const values: Record<string, unknown> = { name: 'jack', n: 0, empty: '', 'post_arg.model': 'm' }
  const get = (name: string) => values[name]

  it('puts variables in and counts them', () => {
    for (const [template, text, resolved] of [
      ['hello $name!', 'hello jack!', 1],
      ['${name}s', 'jacks', 1],
      ['$names', '', 0],
      ['${post_arg.model}:$n', 'm:0', 2],
      ['${missing ?? some default}', 'some default', 1],
      ['${name ?? other}', 'jack', 1],
      ['[$missing]', '[]', 0],
      ['$empty', '', 1],
      ['\\$name costs $ 5', '$name costs $ 5', 0],
      ['no variable', 'no variable', 0],
      ['', '', 0],
    ] as const)
      assert.deepEqual(resolveTemplate(template, get), { text, resolved }, template)
  })

  it('is read once', () => {
    const compiled = compileTemplate('a\\$b ${x ?? d} c')
    assert.deepEqual(compiled, ['a$b ', { name: 'x', fallback: 'd' }, ' c'])
    assert.deepEqual(
      resolveTemplate(compiled, () => undefined),
      { text: 'a$b d c', resolved: 1 },
    )
  })
})
