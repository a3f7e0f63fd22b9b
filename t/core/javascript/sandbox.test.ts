// Functions of configs in their process: what they return, what they cannot reach, and what ends them.
import assert from 'node:assert/strict'
import { Sandbox } from '../../../core/javascript/sandbox.ts'

describe('the process of functions', function () {
  this.timeout(60_000)
  let sandbox: Sandbox

  beforeEach(() => {
    // What is no loop ends within this on any machine.
    sandbox = new Sandbox({ timeout: 20_000, heapMb: 64 })
  })
  afterEach(() => sandbox.close())

  const value = async (source: string, ...args: unknown[]) => (await sandbox.call(source, args)).value
  const failure = async (source: string): Promise<string> => {
    const error = await sandbox.call(source, []).then(
      () => assert.fail('it has returned'),
      (thrown: Error & { status: number; code: string; cause: Error }) => thrown,
    )
    assert.deepEqual([error.status, error.code], [500, 'javascript_failed'])
    return error.cause.message
  }

  it('calls a function and tells what it returned, what it changed and what it said', async () => {
    const returned = await sandbox.call(
      'async (conf, ctx) => { await null; ctx.seen = conf.n; console.log("n is", conf); return [conf.n] }',
      [{ n: 1 }, {}],
    )
    assert.deepEqual(returned, { value: [1], args: [null, { seen: 1 }], lines: ['n is {"n":1}'] })
  })

  it('calls in order, however many are asked for at once', async () => {
    const values = await Promise.all(Array.from({ length: 50 }, (_, n) => value('n => n * 2', n)))
    assert.deepEqual(
      values,
      values.map((_, n) => n * 2),
    )
  })

  it('gives functions neither Node nor each other', async () => {
    const globals =
      'process require module fetch setTimeout Buffer WebAssembly ArrayBuffer Uint8Array SharedArrayBuffer'
    assert.equal(await value(`() => '${globals}'.split(' ').filter(name => name in globalThis).join()`), '')
    await value('() => { globalThis.left = 1; Object.prototype.left = 1 }')
    assert.equal(await value('() => globalThis.left ?? "nothing"'), 'nothing')
    assert.match(await failure(`() => (() => {}).constructor('return process')()`), /Code generation/)
    const outbreak = `async () => {
      try { await import('node:fs') } catch (error) { return String(error.constructor.constructor('return process')()) }
    }`
    assert.doesNotMatch(
      await value(outbreak).then(String, (error: Error) => String((error.cause as Error).message)),
      /object process/,
    )
  })

  it('bounds what a function takes of time, also behind a promise, and goes on', async () => {
    await sandbox.close()
    sandbox = new Sandbox({ timeout: 2_000, heapMb: 64 })
    assert.equal(await failure('() => { for (;;); }'), 'it took longer than 2000 ms')
    assert.equal(await failure('async () => { for (;;) await null }'), 'it took longer than 2000 ms')
    assert.match(await failure('() => new Promise(() => {})'), /never kept/)
    assert.equal(await value('() => 1'), 1)
  })

  it('bounds what it takes of memory, also where one allocation ends its process', async () => {
    assert.match(await failure('() => new Array(1e8).fill(1.5)'), /ended with SIG/)
    assert.equal(await value('() => 1'), 1)
    assert.match(await failure('() => { const a = []; for (;;) a.push({}) }'), /ended with SIG/)
    assert.equal(await value('() => 1'), 1)
  })

  it('tells how a function failed in a few words', async () => {
    assert.equal(await failure('() => { throw new Error("mine") }'), 'mine')
    assert.equal((await failure('() => { throw new Error("x".repeat(1e5)) }')).length, 1_000)
    assert.equal(
      await failure('() => { throw { get message() { throw 1 } } }'),
      'something that has no text was thrown',
    )
    assert.match(await failure('() => ({ toJSON() { throw new Error("no") } })'), /^no$/)
    assert.match(await failure('() => "x".repeat(2e6)'), /larger than 1048576/)
  })

  it('takes on a bounded number of calls', async () => {
    const calls = Array.from({ length: 1_100 }, () =>
      value('() => 1').catch((error: { status: number }) => error.status),
    )
    const values = await Promise.all(calls)
    assert.equal(values.filter(each => each === 503).length, 99)
    assert.equal(values.filter(each => each === 1).length, 1_001)
  })

  it('fails what waits when it is closed', async () => {
    const waiting = value('() => { for (;;); }')
    const ended = assert.rejects(waiting, { code: 'javascript_failed' })
    await sandbox.close()
    await ended
  })
})
