// debug.yaml as its readers write it, and what is refused of it in one line.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: it is the syntax of configuration files
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readDebugMode } from '../../../core/config/debug-mode.ts'
import { ConfigError, loadConfig } from '../../../core/config.ts'

describe('debug.yaml', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'sluice-debug-'))
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  function read(text: string): boolean {
    const file = join(folder, 'debug.yaml')
    writeFileSync(file, text)
    return readDebugMode(file, { ON: 'true' })
  }

  it('turns debug mode on where basic.enable says so, and need not be there', () => {
    assert.equal(readDebugMode(join(folder, 'none.yaml'), {}), false)
    assert.equal(read(''), false)
    assert.equal(read('#END'), false)
    assert.equal(read('basic: {enable: false}\n#END'), false)
    assert.equal(read('basic:\n  enable: true\n#END'), true)
    assert.equal(read('basic: {enable: "${{ON}}"}'), true)
  })

  it('is looked for beside the configuration, by the name of the profile', () => {
    const file = join(folder, 'config.yaml')
    writeFileSync(file, '')
    writeFileSync(join(folder, 'debug-x.yaml'), 'basic: {enable: true}')
    assert.equal(loadConfig({ file, env: {} }).debugMode, false)
    assert.equal(loadConfig({ file, env: { APISIX_PROFILE: 'x' } }).debugMode, true)
  })

  it('may have what traces functions of Lua, turned off', () => {
    const off = 'http_filter: {enable: false, enable_header_name: X-A}\nhook_conf: {enable: false, name: hook_phase}\n'
    assert.equal(read(`${off}hook_phase: {apisix: [http_access_phase]}`), false)
  })

  const wrong: [text: string, line: string][] = [
    ['basic: {enable: 1}', '1: basic.enable: expected true or false'],
    ['basic: true', '1: basic: expected a group of keys'],
    ['- 1', ' expected a group of keys'],
    ['\nbasics: {}', '2: basics: unknown key'],
    ['hook_conf: {enable: true}', '1: hook_conf.enable: is not served in this version'],
    ['http_filter: {enable: true}', '1: http_filter.enable: is not served in this version'],
  ]
  for (const [text, line] of wrong) {
    it(`is refused as it stands: ${text.trim()}`, () => {
      assert.throws(
        () => read(text),
        (error: Error) => {
          assert.ok(error instanceof ConfigError)
          assert.equal(error.message, `${join(folder, 'debug.yaml')}:${line}`)
          return true
        },
      )
    })
  }
})
