// The error log of a gateway, as an operator reads it: an event a line, with the id that its request is known by.
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type LogFile, openLog } from '../core/observe/log.ts'
import { plugin } from '../core/plugin.ts'
import { startGateway, type TestGateway } from './helpers/gateway.ts'
import { until } from './helpers/until.ts'

interface Line {
  level: string
  msg: string
  request_id?: string
  plugin?: string
  left_out?: number
}

const LIMITS = { timeout: 5_000, heapMb: 64 }

const failing = plugin({
  name: 'failing',
  priority: 1,
  version: 1,
  schema: { type: 'object' },
  setup: () => ({
    access() {
      throw new Error('of two\nlines')
    },
  }),
})

describe('the error log', () => {
  let folder: string
  let file: string
  let log: LogFile
  let gateway: TestGateway

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'sluice-log-'))
    file = join(folder, 'error.log')
  })
  afterEach(async () => {
    await gateway.close()
    log.end()
    rmSync(folder, { recursive: true })
  })

  async function start(level: string, plugins: object, more: object = {}): Promise<void> {
    log = openLog(level, file)
    const known = { 'request-id': {}, ...plugins }
    gateway = await startGateway({
      log,
      plugins: [failing],
      javascript: LIMITS,
      resources: { routes: { r: { uri: '/*', plugins: known, ...more } } },
    })
    assert.deepEqual(gateway.rejected, [])
  }

  const lines = (): Line[] =>
    readFileSync(file, 'utf8')
      .split('\n')
      .filter(line => line !== '')
      .map(line => JSON.parse(line) as Line)

  const ask = async (id: string) => {
    const headers = { 'x-request-id': id, 'content-type': 'application/json' }
    const answer = await fetch(`${gateway.url}/x`, { method: 'POST', headers, body: '{"messages":[]}' })
    await answer.text()
    return answer.status
  }

  it('has a line for each event, with the id of its request, whatever the error says', async () => {
    await start('warn', { failing: {} })
    assert.equal(await ask('one'), 500)
    assert.equal(await ask('two'), 500)
    await until(() => lines().length === 2, 'both are written')
    assert.deepEqual(
      lines().map(({ level, plugin, request_id }) => [level, plugin, request_id]),
      [
        ['error', 'failing', 'one'],
        ['error', 'failing', 'two'],
      ],
    )
  })

  it('has nothing below its level', async () => {
    const nobody = { upstream: { type: 'roundrobin', nodes: { '127.0.0.1:1': 1 } } }
    await start('error', {}, nobody)
    assert.equal(await ask('one'), 502)
    log.level = 'warn'
    assert.equal(await ask('two'), 502)
    await until(() => lines().length > 0, 'it is written')
    assert.deepEqual(
      lines().map(({ level, request_id }) => [level, request_id]),
      [['warn', 'two']],
    )
  })

  it('says of a fault that lasts how often it was left out, instead of saying it', async () => {
    await start('warn', { failing: {} })
    for (let n = 0; n < 70; n++) await ask(String(n))
    log.end()
    const [last, ...others] = lines().reverse()
    assert.equal(others.length + last!.left_out!, 70)
    assert.ok(others.length < 70)
  })

  it('goes on in a new file when the old one was moved away', async () => {
    await start('warn', { failing: {} })
    await ask('one')
    await until(() => lines().length === 1, 'it is written')
    renameSync(file, `${file}.1`)
    log.reopen()
    await ask('two')
    await until(() => lines().length === 1, 'it is written')
    assert.equal(lines()[0]!.request_id, 'two')
  })

  it('has the id in what is said of every request, too', async () => {
    const instance = {
      provider: 'openai-compatible',
      auth: {},
      weight: 1,
      override: { endpoint: 'http://127.0.0.1:1/' },
    }
    await start('info', {
      'serverless-pre-function': { functions: ['() => { console.log("seen") }'] },
      'ai-proxy-multi': { instances: [{ ...instance, name: 'only' }] },
    })
    await ask('mine')
    await until(() => lines().some(({ msg }) => msg.startsWith('picked instance')), 'it is written')
    const said = lines().filter(({ msg }) => /^seen|^picked instance: only/.test(msg))
    assert.deepEqual(
      said.map(({ request_id }) => request_id),
      ['mine', 'mine'],
    )
  })
})
