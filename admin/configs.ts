// The whole configuration as one document: checked before it is used (facts core 4.9), and, stand-alone, put and got (5.4).
import { hash } from 'node:crypto'
import type { Keyring } from '../core/keyring.ts'
import type { Plugin } from '../core/plugin.ts'
import { isObject } from '../core/schema.ts'
import {
  collections,
  documentKeys,
  type Mistake,
  type PluginChoice,
  type ReadDocument,
  readDocument,
} from '../core/standalone/document.ts'
import type { Revision } from '../core/store/store.ts'
import type { Role } from './access.ts'
import { Refused, refuse } from './answer.ts'
import { oneAtATime } from './one-at-a-time.ts'
import { preconditionFailed } from './preconditions.ts'

type Document = Readonly<Record<string, unknown>>

/** Throws 400 with everything that is wrong with a document. */
export async function validateConfigs(document: Document, plugins: PluginChoice): Promise<void> {
  const { mistakes } = await readDocument(document, plugins)
  if (mistakes.length === 0) return
  const errors = mistakes.map(({ collection, index, id, reason }) => ({
    resource_type: collection,
    ...(id !== undefined && { resource_id: id }),
    ...(index !== undefined && { index }),
    error: reason,
  }))
  throw new Refused(400, { error_msg: 'Configuration validation failed', errors })
}

export interface ConfigsDeps {
  plugins: PluginChoice
  keyring: Keyring
  /** Serves what was read in the place of everything before. Resolves when the data plane does. */
  apply(document: ReadDocument): Promise<Revision>
  /** Milliseconds since the epoch. */
  now(): number
}

export interface Configs {
  /** As it was put, with the versions of its collections; a viewer sees no secrets. */
  get(role: Role): Document
  /** Of what is in use. */
  headers(): Readonly<Record<string, string>>
  /**
   * Undefined when the document with this digest is in use already. `holds` is asked with the tag of the present one.
   * Returns the names in `sent` that mean nothing. Throws 400 and 412.
   */
  put(sent: Document, how: { digest: string; holds: (tag: string) => boolean }): Promise<readonly string[] | undefined>
}

interface State {
  readonly document: Document
  readonly digest: string
  readonly revision: Revision
  readonly headers: Readonly<Record<string, string>>
}

export function configsOf({ plugins, keyring, apply, now }: ConfigsDeps): Configs {
  const versions = Object.fromEntries(documentKeys.map(name => [`${name}_conf_version`, 0]))
  let state: State = { document: versions, digest: '', revision: 0, headers: { ETag: tagOf(versions, '') } }
  const alone = oneAtATime()

  return {
    get: role => (role === 'admin' ? state.document : masked(state.document, keyring, plugins.known)),
    headers: () => state.headers,
    put: (sent, { digest, holds }) =>
      alone(async () => {
        if (!holds(state.headers.ETag ?? '')) throw preconditionFailed(state.revision)
        if (digest === state.digest) return undefined
        const document = succeeding(state.document, sent)
        const read = await readDocument(document, plugins)
        const [first] = read.mistakes
        if (first !== undefined) throw refuse(400, said(first))
        const revision = await apply(read)
        const modified = String(Math.floor(now() / 1000))
        const headers = { 'X-Digest': digest, 'X-Last-Modified': modified, ETag: tagOf(document, digest) }
        state = { document, digest, revision, headers }
        return Object.keys(sent).filter(name => !Object.hasOwn(document, name) && !documentKeys.includes(name))
      }),
  }
}

function tagOf(document: Document, digest: string): string {
  return `"${hash('sha256', digest + JSON.stringify(document))}"`
}

/** What is in use after `sent`: a collection whose version stays is kept, whatever came with it. */
function succeeding(before: Document, sent: Document): Document {
  const after: Record<string, unknown> = {}
  for (const name of documentKeys) {
    const key = `${name}_conf_version`
    const old = before[key] as number
    const version = sent[key] ?? old + 1
    if (typeof version !== 'number') throw refuse(400, `${key} must be a number`)
    if (version < old) throw refuse(400, `${key} must be greater than or equal to (${old})`)
    after[key] = version
    const list = version === old ? before[name] : sent[name]
    if (list !== undefined) after[name] = list
  }
  return after
}

function said({ collection, index, reason }: Mistake): string {
  if (index === undefined || reason.startsWith('found duplicate')) return reason
  return `invalid ${collection} at index ${index}, err: ${reason}`
}

function masked(document: Document, keyring: Keyring, plugins: ReadonlyMap<string, Plugin>): Document {
  const hidden = collections.map(name => {
    const list = document[name]
    const mask = (entry: unknown) =>
      isObject(entry) ? keyring.maskItem({ kind: name, id: String(entry.id), value: entry }, plugins) : entry
    return [name, Array.isArray(list) ? list.map(mask) : list]
  })
  return { ...document, ...Object.fromEntries(hidden.filter(([, list]) => list !== undefined)) }
}
