// The error log as whoever reads it sees it: a line per event, levels, a new file, and what becomes of repetition.
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type LogFile, openLog } from '../../../core/observe/log.ts'
import { until } from '../../helpers/until.ts'

interface Line {
  level: string
  time: string
  msg: string
  left_out?: number
  line?: string
  err?: object
}

describe('the error log', () => {
  let folder: string
  let file: string

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'sluice-log-'))
    file = join(folder, 'a/error.log')
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  const lines = (path = file) =>
    readFileSync(path, 'utf8')
      .split('\n')
      .filter(Boolean)
      .map(line => JSON.parse(line) as Line)
  const open = (level = 'info', whileMs?: number): LogFile => openLog(level, file, whileMs)

  it('has one line for an event, whatever is in it', () => {
    open().error({ plugin: 'a\nb', err: new Error('one\ntwo') }, 'three\nfour')
    const [only, ...more] = lines()
    assert.deepEqual([only!.msg, only!.level, more], ['three\nfour', 'error', []])
    assert.ok(Math.abs(Date.parse(only!.time) - Date.now()) < 60_000)
  })

  it('says what its level asks for, also when that changes', () => {
    const log = open('warn')
    log.info({}, 'not')
    log.debug({}, 'not')
    log.level = 'debug'
    log.debug({}, 'now')
    assert.deepEqual(
      lines().map(({ msg }) => msg),
      ['now'],
    )
  })

  it('goes on in a new file', () => {
    const log = open()
    log.warn({}, 'old')
    renameSync(file, `${file}.1`)
    log.reopen()
    log.warn({}, 'new')
    assert.deepEqual([lines(`${file}.1`)[0]!.msg, lines()[0]!.msg], ['old', 'new'])
  })

  it('leaves out what is repeated, and says how often', async () => {
    const log = open('debug', 200)
    for (let n = 0; n < 1_000; n++) log.error({ plugin: 'p', route: 'r', request_id: String(n) }, 'it failed')
    for (let n = 0; n < 60; n++) log.debug({}, 'seen')
    log.error({ plugin: 'p', route: 'other' }, 'it failed')
    log.warn({ plugin: 'p', route: 'r' }, 'it failed')
    assert.equal(lines().filter(({ msg }) => msg === 'seen').length, 60)
    const failed = () => lines().filter(({ msg }) => msg === 'it failed').length
    // It takes longer than a while on a slow machine: what is written then is no less than this.
    assert.ok(failed() >= 52 && failed() < 1_002)
    const left = () => lines().reduce((sum, { left_out = 0 }) => sum + left_out, 0)
    await until(() => left() + failed() === 1_002, 'all of them are written or counted')
    assert.ok(lines().every(({ left_out, line }) => left_out === undefined || line === 'it failed (p r)'))
    const before = failed()
    log.error({ plugin: 'p', route: 'r' }, 'it failed')
    assert.equal(failed(), before + 1)
  })

  it('counts together what is always another, and tells at its end', () => {
    const log = open('info', 3_600_000)
    for (let n = 0; n < 2_000; n++) log.warn({}, `line ${n}`)
    assert.equal(lines().length, 1_050)
    log.end()
    const { line, left_out } = lines().at(-1)!
    assert.deepEqual([lines().length, line, left_out], [1_051, 'other lines', 950])
  })
})
