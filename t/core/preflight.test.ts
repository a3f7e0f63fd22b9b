// What npm runs before a script: when it installs, when it leaves an install alone, and which Node it lets pass.
// npm is a script that writes down how it was called; the real one is slow and needs a registry.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

const lock = {
  '': { name: 'x' },
  'node_modules/koa': { version: '1.0.0', integrity: 'a' },
  'node_modules/mocha': { version: '1.0.0', integrity: 'b', dev: true },
  'node_modules/other-platform': { version: '1.0.0', integrity: 'c', dev: true, optional: true },
}
type Packages = Partial<Record<keyof typeof lock, object>>
const { '': _root, 'node_modules/other-platform': _other, ...complete } = lock
const { 'node_modules/mocha': _mocha, ...production } = complete

interface Tree {
  write(path: string, content: string): void
  remove(path: string): void
  install(packages: Packages): void
  run(event?: string): { code: number | null; said: string; npm: string | undefined }
}

/** Runs `act` in a project of its own, whose `node` is v26 and whose npm succeeds. Nothing is installed. */
function inTree(act: (tree: Tree) => void): void {
  const root = mkdtempSync(join(tmpdir(), 'sluice-preflight-'))
  const write = (path: string, content: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), content, { mode: 0o755 })
  }
  const calls = join(root, 'calls')
  write('package-lock.json', JSON.stringify({ packages: lock }))
  write('package.json', '{"type": "module"}')
  write('bin/node', '#!/bin/sh\necho v26.1.0\n')
  write('bin/npm', `#!/bin/sh\necho "$@" >> ${calls}\n`)
  mkdirSync(join(root, 'core'))
  copyFileSync('core/preflight.js', join(root, 'core/preflight.js'))
  try {
    act({
      write,
      remove: path => rmSync(join(root, path), { recursive: true }),
      install(packages) {
        write('node_modules/.package-lock.json', JSON.stringify({ packages }))
        for (const folder of Object.keys(packages)) write(`${folder}/package.json`, '{}')
      },
      run(event) {
        const env = {
          PATH: `${join(root, 'bin')}:/usr/bin:/bin`,
          ...(event !== undefined && { npm_lifecycle_event: event }),
        }
        const { status, stderr, stdout } = spawnSync(process.execPath, ['core/preflight.js'], {
          cwd: root,
          env,
          encoding: 'utf8',
        })
        return { code: status, said: stdout + stderr, npm: existsSync(calls) ? readFileSync(calls, 'utf8') : undefined }
      },
    })
  } finally {
    rmSync(root, { recursive: true })
  }
}

const quiet = { code: 0, said: '', npm: undefined }
const installs = /^ci --no-audit --no-fund --loglevel=error\n$/

describe('the preflight', () => {
  it('does and says nothing when everything is there', () =>
    inTree(({ install, run }) => {
      install(complete)
      for (const event of ['prestart', 'pretest', 'precheck', undefined]) assert.deepEqual(run(event), quiet)
    }))

  it('installs on a fresh clone', () =>
    inTree(({ run }) => {
      const { code, npm, said } = run('prestart')
      assert.equal(code, 0)
      assert.match(npm!, installs)
      assert.equal(said, 'sluice: installing what is missing (npm ci)\n')
    }))

  it('installs what the lock file has in another version', () =>
    inTree(({ install, run }) => {
      install({ ...complete, 'node_modules/koa': { version: '0.9.0', integrity: 'z' } })
      assert.match(run('prestart').npm!, installs)
    }))

  it('installs what somebody has deleted', () =>
    inTree(({ install, remove, run }) => {
      install(complete)
      remove('node_modules/koa')
      assert.match(run('prestart').npm!, installs)
    }))

  it('installs again after an install that was cut short', () =>
    inTree(({ install, remove, run }) => {
      install(complete)
      remove('node_modules/.package-lock.json')
      assert.match(run('prestart').npm!, installs)
    }))

  it('leaves a production install alone, unless tests are to run', () =>
    inTree(({ install, run }) => {
      install(production)
      assert.deepEqual(run('prestart'), quiet)
      assert.deepEqual(run(), quiet)
      assert.match(run('pretest').npm!, /^ci .*--include=dev\n$/)
    }))

  it('tells in one line that the install failed', () =>
    inTree(({ write, run }) => {
      write('bin/npm', '#!/bin/sh\necho broken >&2\nexit 7\n')
      const { code, said } = run('prestart')
      assert.equal(code, 1)
      assert.equal(said, 'sluice: installing what is missing (npm ci)\nbroken\nsluice: npm ci failed\n')
    }))

  it('refuses a Node that is too old, in one line', () =>
    inTree(({ install, write, run }) => {
      install(production)
      write('bin/node', '#!/bin/sh\necho v20.20.2\n')
      const { code, said } = run('prestart')
      assert.equal(code, 1)
      assert.equal(
        said,
        'sluice: Node >= 24 is needed, but `node` is v20.20.2: `npm ci --include=dev` brings one along\n',
      )
    }))

  it('looks at the Node that the install brought along, not at the one it runs on', () =>
    inTree(({ install, write, run }) => {
      install(complete)
      write('bin/node', '#!/bin/sh\necho v20.20.2\n')
      write('node_modules/.bin/node', '#!/bin/sh\necho v26.1.0\n')
      assert.deepEqual(run('prestart'), quiet)
    }))

  it('says so when there is a Node that does not run', () =>
    inTree(({ install, write, run }) => {
      install(complete)
      write('bin/node', '#!/bin/sh\nexit 1\n')
      const { code, said } = run('prestart')
      assert.equal(code, 1)
      assert.equal(said, 'sluice: Node >= 24 is needed, and `node` cannot be run\n')
    }))
})
