// Runs before npm's scripts, on whatever Node the machine has (>= 18) and without a dependency: installs what is missing, then
// checks the Node that the script will get. Says nothing and takes one Node start when there is nothing to do.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const needed = 24
/** To start, or to prepare a start by hand: what only developers need may be missing. */
const toServe = ['prestart', undefined].includes(process.env.npm_lifecycle_event)
const root = fileURLToPath(new URL('..', import.meta.url))
const modules = join(root, 'node_modules')
// As npm sets it for scripts, so that a run by hand sees the same Node.
const env = { ...process.env, PATH: `${join(modules, '.bin')}${delimiter}${process.env.PATH ?? ''}` }

/** Packages of a lock file by folder, the root left out. @param {string} file */
function packages(file) {
  const { '': _, ...rest } = JSON.parse(readFileSync(file, 'utf8')).packages
  return rest
}

/**
 * Is every package of package-lock.json there, in its version? npm writes node_modules/.package-lock.json when an install is
 * complete. Packages for other platforms are not there, and need not be. When no development package is there at all, somebody
 * left them out on purpose (`npm ci --omit=dev`): that is enough to serve.
 */
function installed() {
  const done = join(modules, '.package-lock.json')
  if (!existsSync(done)) return false
  const wanted = packages(join(root, 'package-lock.json'))
  const there = packages(done)
  const withoutDev = toServe && !Object.values(there).some(each => each.dev)
  return Object.entries(wanted).every(([folder, { version, integrity, dev, optional }]) => {
    const found = there[folder]
    if (found === undefined) return optional || (dev && withoutDev)
    return found.version === version && found.integrity === integrity && existsSync(join(root, folder, 'package.json'))
  })
}

/** @param {string} message @returns {never} */
function fail(message) {
  console.error(`sluice: ${message}`)
  process.exit(1)
}

if (!installed()) {
  console.error('sluice: installing what is missing (npm ci)')
  const options = { cwd: root, env, stdio: ['ignore', 'ignore', 'inherit'] }
  const args = ['ci', '--no-audit', '--no-fund', '--loglevel=error', ...(toServe ? [] : ['--include=dev'])]
  const { status, error } = spawnSync('npm', args, options)
  if (status !== 0) fail(`npm ci failed${error === undefined ? '' : `: ${error.message}`}`)
}

const { stdout } = spawnSync('node', ['--version'], { env, encoding: 'utf8' })
const version = /^v(\d+)/.exec(stdout ?? '')
if (version === null) fail(`Node >= ${needed} is needed, and \`node\` cannot be run`)
if (Number(version[1]) < needed) {
  fail(`Node >= ${needed} is needed, but \`node\` is ${stdout.trim()}: \`npm ci --include=dev\` brings one along`)
}
