// The operator's credentials where a provider repeats them in an error, which goes to the client; knows no protocol.
import { REDACTED } from '../observe/credentials.ts'

// What is shorter is no credential, and stands in many a text.
const MIN_LENGTH = 8

/** A body without `secrets`, however they are written in JSON or in a URL; of `Bearer x` the x is one. The same without any. */
export function withoutEchoes(body: Buffer, secrets: readonly string[]): Buffer {
  const forms = secrets.flatMap(formsOf).filter(form => body.includes(form))
  if (forms.length === 0) return body
  // One character for each byte, whatever they mean.
  let text = body.toString('latin1')
  for (const form of forms) text = text.replaceAll(form, REDACTED)
  return Buffer.from(text, 'latin1')
}

function formsOf(secret: string): string[] {
  const bare = /^[\w-]+ +(\S+)$/.exec(secret)?.[1]
  const written = [secret, bare ?? ''].flatMap(text => [
    text,
    JSON.stringify(text).slice(1, -1),
    encodeURIComponent(text),
    new URLSearchParams({ '': text }).toString().slice(1),
  ])
  return [...new Set(written)].filter(form => form.length >= MIN_LENGTH).sort((a, b) => b.length - a.length)
}
