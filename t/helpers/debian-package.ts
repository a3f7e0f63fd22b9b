// A program that tests need and npm does not have: found, or installed from Debian; knows nothing of what it is used for.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)

// Packages of servers start them when they are installed, unless this machine's policy says no: theirs stays, ours goes.
// One installation at a time, or one would take the other's policy away. The lists of packages are fetched when they fail us.
const INSTALL = `
set -eu
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 1' HUP INT TERM
  printf '#!/bin/sh\\nexit 101\\n' > "$policy"
  chmod +x "$policy"
fi
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
install() { apt-get -q -y -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 install --no-install-recommends "$1"; }
install "$1" || { apt-get -q -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 update && install "$1"; }
`

/**
 * Resolves with the path of `binary`, after installing Debian's `packageName` if it is not in PATH (minutes on a slow
 * line: give the hook that calls this time). Starts no service. Rejects with what to do when it cannot be had.
 */
export async function ensure(packageName: string, binary: string): Promise<string> {
  const there = await find(binary)
  if (there !== undefined) return there
  const command = ['flock', '/var/lock/sluice-debian-package', 'sh', '-c', INSTALL, 'install', packageName]
  const [program, ...args] = process.getuid?.() === 0 ? command : ['sudo', '-n', ...command]
  await run(program!, args, { maxBuffer: 16 * 1024 * 1024 }).catch((error: Error & { stderr?: string }) => {
    throw missing(packageName, binary, error.stderr?.trim() || error.message)
  })
  const installed = await find(binary)
  if (installed === undefined) throw missing(packageName, binary, 'the package is installed and does not bring it')
  return installed
}

/** Where a shell finds a program; undefined when it does not. */
async function find(binary: string): Promise<string | undefined> {
  const { stdout } = await run('sh', ['-c', 'command -v "$1"', 'find', binary]).catch(() => ({ stdout: '' }))
  return stdout.trim() || undefined
}

function missing(packageName: string, binary: string, why: string): Error {
  return new Error(`${binary} is needed here and could not be installed; "apt-get install ${packageName}": ${why}`)
}
