// What is known of files that were read: whatever changes from then on is noticed.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { areSame, looksOf, noted } from '../../../core/plugin-code/fingerprint.ts'

describe('the looks of files', () => {
  it('differ when a file is written, touched, gone, or there again', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-looks-'))
    const file = join(folder, 'a.ts')
    const url = pathToFileURL(file).href
    const looks = [await looksOf([url])]
    writeFileSync(file, 'a')
    looks.push(await looksOf([url]))
    utimesSync(file, 1, 1)
    looks.push(await looksOf([url]))
    assert.ok(areSame(looks.at(-1)!, await looksOf([url])))
    rmSync(folder, { recursive: true })
    assert.ok(areSame(looks[0]!, await looksOf([url])))
    for (const [at, look] of looks.entries()) {
      for (const other of looks.slice(at + 1)) assert.ok(!areSame(look, other))
    }
  })

  it('are those from before a file was read, so that a save in between is still to be noticed', () => {
    const before = new Map([
      ['kept', '1'],
      ['saved', '1'],
    ])
    const after = new Map([
      ['kept', '1'],
      ['saved', '2'],
      ['imported', '1'],
      ['appeared', '1'],
    ])
    const known = noted(before, after, ['kept', 'saved', 'imported'])
    assert.deepEqual(Object.fromEntries(known), { kept: '1', saved: '1', imported: '1' })
    assert.ok(!areSame(known, after))
  })
})
