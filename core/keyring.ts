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

/**
 * The first key encrypts, every key may decrypt, in order. What is encrypted are the strings at the paths that plugins
 * name in `encrypt`, except secret references. Without keys everything stays as it is.
 *
 * Written is `v2:` and base64 of nonce, AES-256-GCM ciphertext and tag; read is also what APISIX writes: base64 of
 * AES-CBC whose IV is the key. That form is never written: equal secrets look equal, and nobody notices a changed one.
 */
export class Keyring {
  readonly #keys: readonly { derived: Buffer; legacy: Buffer }[]
  readonly #unreadable: (where: string) => void

  /** `unreadable` hears where a value stands (`consumers/jack key-auth.key`) that no key opens; it is used as it is. */
  constructor(keys: readonly string[], unreadable: (where: string) => void = () => {}) {
    this.#keys = keys.map(key => ({
      derived: Buffer.from(hkdfSync('sha256', key, '', 'sluice encryption at rest v2', 32)),
      legacy: Buffer.from(key),
    }))
    this.#unreadable = unreadable
  }

  /** A deep copy as it goes into the store. */
  sealItem(_kind: Kind, value: Value, plugins: Plugins): Record<string, unknown> {
    return withSecrets(value, plugins, text => (isReference(text) ? text : this.#seal(text)))
  }

  /** A deep copy in clear. */
  openItem(kind: Kind, value: Value, plugins: Plugins): Record<string, unknown> {
    return withSecrets(value, plugins, (text, path) => {
      if (this.#keys.length === 0 || isReference(text)) return text
      const opened = this.#open(text)
      if (opened === undefined) this.#unreadable(`${kind}/${String(value.id ?? value.username)} ${path}`)
      return opened ?? text
    })
  }

  /** A deep copy for eyes that may not see secrets. */
  maskItem(_kind: Kind, value: Value, plugins: Plugins): Record<string, unknown> {
    return withSecrets(value, plugins, text => (isReference(text) ? text : '***'))
  }

  #seal(text: string): string {
    const key = this.#keys[0]
    if (key === undefined) return text
    const nonce = randomBytes(nonceBytes)
    const cipher = createCipheriv('aes-256-gcm', key.derived, nonce)
    const sealed = Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()])
    return prefix + sealed.toString('base64')
  }

  #open(text: string): string | undefined {
    const sealed = text.startsWith(prefix)
    for (const { derived, legacy } of this.#keys) {
      try {
        return sealed ? openSealed(text, derived) : openLegacy(text, legacy)
      } catch {
        // Not with this key.
      }
    }
    return undefined
  }
}

// Whatever was encrypted was text: bytes that are not show a wrong key.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function openSealed(text: string, key: Buffer): string {
  const bytes = Buffer.from(text.slice(prefix.length), 'base64')
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, nonceBytes), { authTagLength: tagBytes })
  decipher.setAuthTag(bytes.subarray(-tagBytes))
  return utf8.decode(Buffer.concat([decipher.update(bytes.subarray(nonceBytes, -tagBytes)), decipher.final()]))
}

function openLegacy(text: string, key: Buffer): string {
  const bytes = Buffer.from(text, 'base64')
  const whole = bytes.length > 0 && bytes.length % blockBytes === 0 && bytes.toString('base64') === text
  if (!whole || (key.length !== 16 && key.length !== 32)) throw new Error('not written by APISIX with this key')
  const decipher = createDecipheriv(`aes-${key.length * 8}-cbc`, key, key.subarray(0, blockBytes))
  return utf8.decode(Buffer.concat([decipher.update(bytes), decipher.final()]))
}

type Change = (text: string, path: string) => string

function withSecrets(value: Value, plugins: Plugins, change: Change): Record<string, unknown> {
  const copy = structuredClone(value) as Record<string, unknown>
  if (!isObject(copy.plugins)) return copy
  for (const [name, config] of Object.entries(copy.plugins)) {
    for (const path of plugins.get(name)?.encrypt ?? []) {
      follow(config, path.split('.'), text => change(text, `${name}.${path}`))
    }
  }
  return copy
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
