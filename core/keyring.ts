// Encryption at rest of the secrets in plugin configs (facts core 4.10); knows paths and keys, neither stores nor clients.
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import type { Plugin } from './plugin.ts'
import { isObject, isReference } from './schema.ts'
import type { Item, Kind } from './store/store.ts'

type Value = Item['value']
type Plugins = ReadonlyMap<string, Plugin>

const prefix = 'v2:'
const nonceBytes = 12
const tagBytes = 16
const blockBytes = 16

/** How secrets are written; both are read. */
export type Format = 'compat' | 'v2'

/** Private keys of resources, by kind. What is no PEM text there is taken for encrypted, as APISIX takes it. */
const pemPaths: Partial<Record<Kind, readonly string[]>> = {
  ssls: ['key', 'keys'],
  upstreams: ['tls.client_key'],
  routes: ['upstream.tls.client_key'],
  services: ['upstream.tls.client_key'],
}

/**
 * The first key encrypts, every key may decrypt, in order. What is encrypted are private keys, and the strings at the paths
 * that plugins name in `encrypt`, except secret references. Without keys everything stays as it is.
 *
 * v2 is `v2:` and base64 of nonce, AES-256-GCM ciphertext and tag. compat is what APISIX writes: base64 of AES-CBC whose IV
 * is the key. Equal secrets look equal in it, and nobody notices a changed one: it is for stores that APISIX reads too.
 */
export class Keyring {
  readonly #keys: readonly { derived: Buffer; legacy: Buffer }[]
  readonly #unreadable: (where: string) => void
  readonly #format: Format

  /** `unreadable` hears where a value stands (`consumers/jack key-auth.key`) that no key opens; it is used as it is. */
  constructor(keys: readonly string[], unreadable: (where: string) => void = () => {}, format: Format = 'v2') {
    this.#keys = keys.map(key => ({
      derived: Buffer.from(hkdfSync('sha256', key, '', 'sluice encryption at rest v2', 32)),
      legacy: Buffer.from(key),
    }))
    this.#unreadable = unreadable
    this.#format = format
  }

  /** A deep copy as it goes into the store. */
  sealItem(kind: Kind, value: Value, plugins: Plugins): Record<string, unknown> {
    return withSecrets({ kind, value, plugins }, (text, { pem }) => {
      if (isReference(text) || (pem && !isPem(text))) return text
      return this.#seal(text)
    })
  }

  /** A deep copy in clear. */
  openItem(kind: Kind, value: Value, plugins: Plugins): Record<string, unknown> {
    return withSecrets({ kind, value, plugins }, (text, { path, pem }) => {
      if (this.#keys.length === 0 || isReference(text) || (pem && isPem(text))) return text
      const opened = this.#open(text)
      if (opened === undefined) this.#unreadable(`${kind}/${String(value.id ?? value.username)} ${path}`)
      return opened ?? text
    })
  }

  /** A deep copy for eyes that may not see secrets. */
  maskItem(kind: Kind, value: Value, plugins: Plugins): Record<string, unknown> {
    return withSecrets({ kind, value, plugins }, text => (isReference(text) ? text : '***'))
  }

  #seal(text: string): string {
    const key = this.#keys[0]
    if (key === undefined) return text
    return this.#format === 'v2' ? sealed(text, key.derived) : sealedLegacy(text, key.legacy)
  }

  #open(text: string): string | undefined {
    const open = text.startsWith(prefix) ? openSealed : openLegacy
    for (const { derived, legacy } of this.#keys) {
      try {
        return open(text, open === openSealed ? derived : legacy)
      } catch {
        // Not with this key.
      }
    }
    return undefined
  }
}

// Whatever was encrypted was text: bytes that are not show a wrong key.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function sealed(text: string, key: Buffer): string {
  const nonce = randomBytes(nonceBytes)
  const cipher = createCipheriv('aes-256-gcm', key, nonce)
  const bytes = Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()])
  return prefix + bytes.toString('base64')
}

function openSealed(text: string, key: Buffer): string {
  const bytes = Buffer.from(text.slice(prefix.length), 'base64')
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, nonceBytes), { authTagLength: tagBytes })
  decipher.setAuthTag(bytes.subarray(-tagBytes))
  return utf8.decode(Buffer.concat([decipher.update(bytes.subarray(nonceBytes, -tagBytes)), decipher.final()]))
}

/** AES-128 or AES-256, as long as the key is; its first bytes are the IV (facts core 4.10). */
function sealedLegacy(text: string, key: Buffer): string {
  const cipher = createCipheriv(`aes-${key.length * 8}-cbc`, key, key.subarray(0, blockBytes))
  return Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]).toString('base64')
}

function openLegacy(text: string, key: Buffer): string {
  const bytes = Buffer.from(text, 'base64')
  const whole = bytes.length > 0 && bytes.length % blockBytes === 0 && bytes.toString('base64') === text
  if (!whole || (key.length !== 16 && key.length !== 32)) throw new Error('not written by APISIX with this key')
  const decipher = createDecipheriv(`aes-${key.length * 8}-cbc`, key, key.subarray(0, blockBytes))
  return utf8.decode(Buffer.concat([decipher.update(bytes), decipher.final()]))
}

type Change = (text: string, at: { path: string; pem: boolean }) => string

function withSecrets(
  { kind, value, plugins }: { kind: Kind; value: Value; plugins: Plugins },
  change: Change,
): Record<string, unknown> {
  const copy = structuredClone(value) as Record<string, unknown>
  for (const path of pemPaths[kind] ?? []) {
    const steps = path.split('.')
    const last = steps.pop()!
    const holder = steps.reduce<unknown>((node, step) => (isObject(node) ? node[step] : undefined), copy)
    if (!isObject(holder) || !Object.hasOwn(holder, last)) continue
    holder[last] = follow(holder[last], [], text => change(text, { path, pem: true }))
  }
  if (!isObject(copy.plugins)) return copy
  for (const [name, config] of Object.entries(copy.plugins)) {
    for (const path of plugins.get(name)?.encrypt ?? []) {
      follow(config, path.split('.'), text => change(text, { path: `${name}.${path}`, pem: false }))
    }
  }
  return copy
}

function isPem(text: string): boolean {
  return text.startsWith('---')
}

/** Changes the strings below a path; lists and maps that stand in its way are passed through. Returns what stands there now. */
function follow(node: unknown, path: readonly string[], change: (text: string) => string): unknown {
  const [step, ...rest] = path
  if (typeof node === 'string') return step === undefined ? change(node) : node
  if (Array.isArray(node)) {
    for (const [at, inner] of node.entries()) node[at] = follow(inner, path, change)
  } else if (isObject(node)) {
    const named = step !== undefined && Object.hasOwn(node, step)
    for (const key of named ? [step] : Object.keys(node)) node[key] = follow(node[key], named ? rest : path, change)
  }
  return node
}
