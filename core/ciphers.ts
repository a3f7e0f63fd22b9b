// The two forms of an encrypted text (facts core 4.10): ours, authenticated, and APISIX's; knows one text and one key at a time.
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'

/** How texts are written: `compat` as APISIX does, `v2` as only Sluice can read it. */
export type Format = 'compat' | 'v2'

/** A key of the keyring as each of the formats uses it. */
export interface CipherKey {
  readonly derived: Buffer
  readonly legacy: Buffer
}

const prefix = 'v2:'
const nonceBytes = 12
const tagBytes = 16
const blockBytes = 16

export function cipherKey(text: string): CipherKey {
  return {
    derived: Buffer.from(hkdfSync('sha256', text, '', 'sluice encryption at rest v2', 32)),
    legacy: Buffer.from(text),
  }
}

/** `place` is where the text may be read again; compat cannot bind it there. */
export function seal(format: Format, text: string, key: CipherKey, place: string): string {
  return format === 'v2' ? sealV2(text, key, place) : sealCompat(text, key)
}

/** The text and the format it was in; undefined when this key did not write it, or not for this place. */
export function open(sealed: string, key: CipherKey, place: string): { text: string; format: Format } | undefined {
  const format = sealed.startsWith(prefix) ? 'v2' : 'compat'
  try {
    return { text: format === 'v2' ? openV2(sealed, key, place) : openCompat(sealed, key), format }
  } catch {
    return undefined
  }
}

/** Whether a text has the form of v2, which nothing else has. */
export function isV2(text: string): boolean {
  return text.startsWith(prefix) && bytesOf(text.slice(prefix.length)) >= nonceBytes + tagBytes
}

/**
 * Whether a text that no key opens was encrypted by APISIX, as far as can be told: whole blocks in base64. Ciphertext without
 * any capital or any small letter is less likely than one in 10,000, so that hexadecimal keys are none.
 */
export function looksCompat(text: string): boolean {
  const bytes = bytesOf(text)
  return bytes > 0 && bytes % blockBytes === 0 && /[a-z]/.test(text) && /[A-Z]/.test(text)
}

/** How many bytes a text is the base64 of; -1 when it is not base64 as encoders write it. */
function bytesOf(text: string): number {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes.length : -1
}

function sealV2(text: string, { derived }: CipherKey, place: string): string {
  const nonce = randomBytes(nonceBytes)
  const cipher = createCipheriv('aes-256-gcm', derived, nonce).setAAD(Buffer.from(place))
  return (
    prefix + Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]).toString('base64')
  )
}

// Whatever was encrypted was text: bytes that are not show a wrong key.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function openV2(sealed: string, { derived }: CipherKey, place: string): string {
  const bytes = Buffer.from(sealed.slice(prefix.length), 'base64')
  const nonce = bytes.subarray(0, nonceBytes)
  const decipher = createDecipheriv('aes-256-gcm', derived, nonce, { authTagLength: tagBytes })
  decipher.setAAD(Buffer.from(place)).setAuthTag(bytes.subarray(-tagBytes))
  return utf8.decode(Buffer.concat([decipher.update(bytes.subarray(nonceBytes, -tagBytes)), decipher.final()]))
}

/** AES-128 or AES-256 by the length of the key, whose first bytes are the IV too. */
function sealCompat(text: string, { legacy }: CipherKey): string {
  const cipher = createCipheriv(`aes-${legacy.length * 8}-cbc`, legacy, legacy.subarray(0, blockBytes))
  return Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]).toString('base64')
}

function openCompat(sealed: string, { legacy }: CipherKey): string {
  const bytes = bytesOf(sealed)
  if (bytes <= 0 || bytes % blockBytes !== 0) throw new Error('no whole blocks in base64')
  const decipher = createDecipheriv(`aes-${legacy.length * 8}-cbc`, legacy, legacy.subarray(0, blockBytes))
  return utf8.decode(Buffer.concat([decipher.update(sealed, 'base64'), decipher.final()]))
}
