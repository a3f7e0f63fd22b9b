// Encryption at rest (facts core 4.10): what stands in the store in the place of secrets; knows no store and no client.
import { type CipherKey, cipherKey, type Format, isV2, looksCompat, open, seal } from './ciphers.ts'
import type { Plugin } from './plugin.ts'
import { isReference, shapeProblem } from './schema.ts'
import { counterpart, type Entry, MASK, type Secret, secretsIn, withTexts } from './secrets/secret-places.ts'

export type { Format }

type Plugins = ReadonlyMap<string, Plugin>
type Value = Entry['value']

/** An item in clear. */
export interface Opened {
  readonly value: Value
  /** Fields that no key opens. What stands there is ciphertext, and must not be used as if it were the secret. */
  readonly locked: readonly string[]
  /** Fields that the next write of the item will encrypt, or encrypt anew: one sentence each. */
  readonly stale: readonly string[]
}

/** Why an item with a field that no key opens is not served. */
export function lockedReason(field: string): string {
  return `no key of the keyring opens ${field}`
}

/** `fresh` is stored as it would be written now, or is no secret itself. */
type State = 'fresh' | 'clear' | 'aged' | 'locked'

/**
 * The first key writes, every key reads, in order. Secret references stay as they are; without keys everything does.
 *
 * v2 is AES-256-GCM with a random nonce, bound to kind, id and field: moved to another place, a ciphertext cannot be read.
 * compat is for stores that APISIX reads too: equal secrets look equal in it, and nobody notices a changed or a moved one.
 */
export class Keyring {
  readonly #keys: readonly CipherKey[]
  readonly #format: Format

  constructor(keys: readonly string[], format: Format = 'v2') {
    this.#keys = keys.map(cipherKey)
    this.#format = format
  }

  /**
   * As an item goes into the store. What is locked in the item that is there now (`stored`) and has not been changed stays as
   * it is: a key that comes back opens it.
   */
  sealItem(item: Entry, plugins: Plugins, stored?: Entry): Value {
    const [key] = this.#keys
    const locked = stored === undefined ? [] : this.#lockedTexts(stored, plugins)
    return changed(item, plugins, secret => {
      const { text, as } = secret
      if (key === undefined || as === 'hidden' || isReference(text)) return undefined
      return locked.includes(text) ? undefined : seal(this.#format, text, key, placeOf(item, secret))
    })
  }

  /** As the data plane, an admin and every check need it. */
  openItem(item: Entry, plugins: Plugins): Opened {
    const locked: string[] = []
    const stale: string[] = []
    const value = changed(item, plugins, secret => {
      if (secret.as === 'hidden') return undefined
      const { text, state } = this.#open(item, secret)
      if (state === 'locked') locked.push(secret.field)
      else if (state === 'clear') stale.push(`${secret.field} is stored in clear until the next write`)
      else if (state === 'aged')
        stale.push(`${secret.field} is encrypted with an old key or in another format until the next write`)
      return text
    })
    return { value, locked, stale }
  }

  /** For eyes that may not see secrets. */
  maskItem(item: Entry, plugins: Plugins): Value {
    return changed(item, plugins, ({ text }) => (isReference(text) ? undefined : MASK), true)
  }

  /**
   * What a client has sent, in clear and whole. A mask stands for the secret that is stored in its place; ciphertext that
   * comes back is what it was made from. `problem` is what is wrong with it, if anything.
   */
  submitted(item: Entry, plugins: Plugins, stored?: Entry): { value: Value; problem: string | undefined } {
    if (shapeProblem(item.value) !== undefined) return { value: item.value, problem: undefined } // it is refused for that
    const locked = stored === undefined ? [] : this.#lockedTexts(stored, plugins)
    let problem: string | undefined
    const value = changed(
      item,
      plugins,
      secret => {
        const { field, path, as } = secret
        const masked = secret.text === MASK
        // Any other text may be a secret, whatever it looks like.
        if (!masked && (as === 'hidden' || !(isV2(secret.text) || as === 'key'))) return undefined
        const known = masked ? counterpart(item.value, path, stored?.value) : secret.text
        if (known === undefined) problem ??= `${field} is a mask, and there is no secret that it stands for`
        if (known === undefined || as === 'hidden') return known
        const { text, state } = this.#open(item, { ...secret, text: known })
        if (state === 'locked' && !locked.includes(text)) problem ??= `${field} is encrypted, and no key opens it here`
        return text
      },
      true,
    )
    return { value, problem }
  }

  #open(item: Entry, secret: Secret): { text: string; state: State } {
    const { text, as } = secret
    if (isReference(secret.text)) return { text, state: 'fresh' }
    const off = this.#keys.length === 0
    if (as === 'key' && text.startsWith('---')) return { text, state: off ? 'fresh' : 'clear' }
    for (const [at, key] of this.#keys.entries()) {
      const opened = open(text, key, placeOf(item, secret))
      if (opened?.format === this.#format && at === 0) return { text: opened.text, state: 'fresh' }
      // Before v2 was bound to a place it was bound to none.
      const older = opened ?? open(text, key, '')
      if (older !== undefined) return { text: older.text, state: 'aged' }
    }
    if (isV2(text) || as === 'key') return { text, state: 'locked' }
    // What is no ciphertext was written before its field was encrypted: APISIX uses it as it is, and so do we.
    if (off) return { text, state: 'fresh' }
    return { text, state: looksCompat(text) ? 'locked' : 'clear' }
  }

  #lockedTexts(item: Entry, plugins: Plugins): string[] {
    return secretsIn(item, plugins)
      .filter(secret => secret.as !== 'hidden' && this.#open(item, secret).state === 'locked')
      .map(({ text }) => text)
  }
}

/** The value with other texts in the place of its secrets; undefined leaves one as it is. */
function changed(item: Entry, plugins: Plugins, change: (secret: Secret) => string | undefined, named = false): Value {
  const texts = new Map<Secret, string>()
  for (const secret of secretsIn(item, plugins, named)) {
    const text = change(secret)
    if (text !== undefined) texts.set(secret, text)
  }
  return withTexts(item.value, texts)
}

/** What a v2 text is bound to. Not its position in lists: elements may be put in another order. */
function placeOf({ kind, id }: Entry, { field }: Secret): string {
  return JSON.stringify([kind, id, field])
}
