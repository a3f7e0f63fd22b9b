// Lines on their way into a file: order, rotation, failure, and the end of the queue.
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openLineFile } from '../../../core/observe/line-file.ts'
import { silent } from '../../../core/observe/log.ts'

describe('a line file', () => {
  let folder: string
  let path: string
  let clock: number
  let lost: number
  let complaints: number

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'sluice-lines-'))
    path = join(folder, 'access.log')
    clock = 1_700_000_000_000
    lost = 0
    complaints = 0
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  const open = (at = path) =>
    openLineFile(at, {
      log: { ...silent, error: () => complaints++ },
      now: () => clock,
      lost: lines => {
        lost += lines
      },
    })

  it('is one for all who open its path, and holds their lines in order', async () => {
    const [first, second] = [open(), open()]
    for (let n = 0; n < 1000; n++) (n % 2 === 0 ? first : second).write(line => line.raw(`line ${n}`))
    await first.close()
    second.write(line => line.raw('last'))
    await second.close()
    const expected = [...Array.from({ length: 1000 }, (_, n) => `line ${n}`), 'last', '']
    assert.deepEqual(readFileSync(path, 'utf8').split('\n'), expected)
    assert.equal(lost, 0)
  })

  it('appends to what is there', async () => {
    for (const line of ['a', 'b']) {
      const file = open()
      file.write(put => put.raw(line))
      await file.close()
    }
    assert.equal(readFileSync(path, 'utf8'), 'a\nb\n')
  })

  it('has nothing of a line that could not be put together', async () => {
    const file = open()
    file.write(line => line.raw('before'))
    const half = () =>
      file.write(line => {
        line.raw('half')
        throw new Error('a value without a text')
      })
    assert.throws(half, /without a text/)
    file.write(line => line.raw('after'))
    await file.close()
    assert.equal(readFileSync(path, 'utf8'), 'before\nafter\n')
    assert.equal(lost, 0)
  })

  it('makes no file when nothing is written', async () => {
    await open().close()
    assert.throws(() => readFileSync(path))
  })

  it('goes on in a new file after the old one was moved away', async () => {
    const [writer, other] = [open(), open()]
    writer.write(line => line.raw('before'))
    await other.close()
    renameSync(path, `${path}.1`)
    clock += 5_000
    writer.write(line => line.raw('after'))
    await writer.close()
    assert.equal(readFileSync(`${path}.1`, 'utf8'), 'before\n')
    assert.equal(readFileSync(path, 'utf8'), 'after\n')
  })

  it('counts lines it cannot write, complains once a minute, and recovers', async () => {
    const at = join(folder, 'later', 'access.log')
    const keeper = open(at)
    const attempt = async (line: string) => {
      const file = open(at)
      file.write(put => put.raw(line))
      await file.close()
    }
    await attempt('1')
    await attempt('2')
    assert.deepEqual({ lost, complaints }, { lost: 2, complaints: 1 })
    clock += 61_000
    await attempt('3')
    assert.deepEqual({ lost, complaints }, { lost: 3, complaints: 2 })
    mkdirSync(join(folder, 'later'))
    await attempt('4')
    await keeper.close()
    assert.equal(readFileSync(at, 'utf8'), '4\n')
    assert.equal(lost, 3)
  })

  it('drops lines rather than hold more than its queue', async () => {
    const file = open()
    const mebibyte = 1 << 20
    const text = 'x'.repeat(mebibyte - 1)
    for (let n = 0; n < 20; n++) file.write(line => line.raw(text))
    await file.close()
    assert.equal(lost, 4)
    assert.equal(readFileSync(path).length, 16 * mebibyte)
  })
})
