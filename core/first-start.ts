// The secrets that nobody configured: made once at first start, kept beside the data, read ever after; knows no server.
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { getSystemErrorMessage } from 'node:util'
import { adminKeyFault, encryptionKeyFault } from './config/schema.ts'
import { type Config, ConfigError, hasAdmin } from './config.ts'

export type AdminKey = Config['deployment']['admin']['adminKey'][number]

export interface Secrets {
  /** None of them is empty. */
  readonly adminKeys: readonly AdminKey[]
  /** The first encrypts, each may decrypt (facts core 4.10). */
  readonly keyring: readonly string[]
  /** Where the admin key stands, if it is one that was made. */
  readonly adminKeyFile: string | undefined
  /** The files that this start has made. */
  readonly created: readonly string[]
  readonly warnings: readonly string[]
}

/** Whether `ensureSecrets` would make a keyring, which nothing that is encrypted already could be read with. */
export function lacksKeyring({ apisix, deployment }: Config): boolean {
  const { enableEncryptFields, keyring } = apisix.dataEncryption
  return enableEncryptFields && keyring === undefined && !existsSync(join(deployment.embedded.path, 'keyring'))
}

/**
 * Completes the configured secrets: an empty admin key is kept in `<deployment.embedded.path>/admin.key`, a keyring that is
 * not configured in `<path>/keyring`, a key per line; both are made (mode 0600) where they do not exist. A file that others
 * may read is closed to them with a warning rather than refused: volumes change modes by themselves (Kubernetes' fsGroup).
 * Throws ConfigError.
 */
export function ensureSecrets(config: Config): Secrets {
  const { apisix, deployment } = config
  const created: string[] = []
  const warnings: string[] = []
  const kept = (name: string, fault: (key: string) => string | undefined): string[] => {
    const file = join(deployment.embedded.path, name)
    return attempt(file, () => {
      if (make(file)) created.push(file)
      const opened = closeToOthers(file)
      if (opened !== undefined) warnings.push(opened)
      return readKeys(file, fault)
    })
  }

  const { adminKey, adminKeyRequired } = deployment.admin
  const wanted = hasAdmin(config) && adminKeyRequired && adminKey.some(({ key }) => key === '')
  const made = wanted ? kept('admin.key', adminKeyFault)[0] : undefined
  return {
    adminKeys: adminKey.map(each => ({ ...each, key: each.key || (made ?? '') })).filter(({ key }) => key !== ''),
    keyring: apisix.dataEncryption.keyring ?? kept('keyring', encryptionKeyFault),
    adminKeyFile: wanted ? join(deployment.embedded.path, 'admin.key') : undefined,
    created,
    warnings,
  }
}

function attempt<T>(file: string, act: () => T): T {
  try {
    return act()
  } catch (error) {
    if (error instanceof ConfigError) throw error
    const { errno, path } = error as NodeJS.ErrnoException
    throw new ConfigError(`${path ?? file}: ${errno === undefined ? String(error) : getSystemErrorMessage(errno)}`)
  }
}

/** Makes the file unless it exists: 32 characters, 192 random bits. It is there whole and durably, or not at all. */
function make(file: string): boolean {
  const folder = dirname(file)
  if (statSync(file, { throwIfNoEntry: false }) !== undefined) return false
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const draft = `${file}.${randomBytes(6).toString('hex')}`
  writeFileSync(draft, `${randomBytes(24).toString('base64url')}\n`, { flag: 'wx', mode: 0o600, flush: true })
  try {
    linkSync(draft, file) // unlike a rename, this never replaces the file of another process
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  } finally {
    rmSync(draft)
  }
  const handle = openSync(folder, 'r')
  fsyncSync(handle) // data encrypted with a key that a power cut takes back could never be read again
  closeSync(handle)
  return true
}

function closeToOthers(file: string): string | undefined {
  const mode = statSync(file).mode & 0o777
  if ((mode & 0o077) === 0) return undefined
  const seen = `${file}: could be read or written by others (mode ${mode.toString(8)})`
  try {
    chmodSync(file, mode & 0o700)
    return `${seen} until now`
  } catch {
    return seen
  }
}

function readKeys(file: string, fault: (key: string) => string | undefined): string[] {
  const keys = readFileSync(file, 'utf8')
    .split('\n')
    .map(line => line.trim())
    .filter(line => line !== '')
  if (keys.length === 0) throw new ConfigError(`${file}: is empty: restore it, or remove it to have a new one made`)
  for (const key of keys) {
    const wrong = fault(key)
    if (wrong !== undefined) throw new ConfigError(`${file}: ${wrong}`)
  }
  return keys
}
