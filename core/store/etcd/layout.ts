// Where resources stand in etcd (facts core 4.11): keys and values to items and back; knows no connection.
import type { IKeyValue } from 'etcd3'
import { isObject, shapeProblem } from '../../schema.ts'
import { type Item, type Kind, kinds } from '../store.ts'

type Fields = Pick<IKeyValue, 'value' | 'create_revision' | 'mod_revision'>

/** Where an item stands. `fault` is what is wrong with its key, if anything. */
export interface Place {
  kind: Kind
  id: string
  fault?: string
}

/** A key below the prefix that is no resource, and why. */
export interface Stranger {
  key: string
  reason: string
}

/** What a key is: a resource's place, a stranger, or undefined for what is known and none of our business. */
export type Found = Place | Stranger | undefined

const kindsByName: ReadonlySet<string> = new Set(kinds)
/** What APISIX keeps beside resources, and we. */
const notResources: ReadonlySet<string> = new Set(['plugins', 'gen_id', 'data_plane', 'sluice'])

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The keys of one prefix, without a slash at its end: `/apisix`. */
export class Layout {
  readonly prefix: string
  /** Everything below the prefix is from `from` to before `to`. */
  readonly all: { readonly from: Buffer; readonly to: Buffer }

  constructor(prefix: string) {
    this.prefix = prefix
    this.all = below(`${prefix}/`)
  }

  keyOf({ kind, id }: Place): Buffer {
    return Buffer.from(`${this.prefix}/${kind}/${id}`)
  }

  /** A key of Sluice's own; other gateways and APISIX pass it over. */
  ownKey(name: string): Buffer {
    return Buffer.from(`${this.prefix}/sluice/${name}`)
  }

  /** The items of one kind, without the placeholder that APISIX makes per directory. */
  itemsOf(kind: Kind): { readonly from: Buffer; readonly to: Buffer } {
    const directory = `${this.prefix}/${kind}/`
    return { from: Buffer.from(`${directory}\0`), to: below(directory).to }
  }

  /** What is kept below an item. */
  below({ kind, id }: Place): { readonly from: Buffer; readonly to: Buffer } {
    return below(`${this.prefix}/${kind}/${id}/`)
  }

  find(key: Buffer): Found {
    const [text, readable] = read(key)
    const path = text.slice(this.prefix.length + 1)
    const slash = path.indexOf('/')
    const directory = slash < 0 ? path : path.slice(0, slash)
    if (notResources.has(directory)) return undefined
    if (slash < 0 || !kindsByName.has(directory)) return { key: text, reason: 'the key is no resource' }
    const id = path.slice(slash + 1)
    if (id === '') return undefined
    return { kind: directory as Kind, id, ...(readable ? {} : { fault: 'the key is not UTF-8' }) }
  }

  /** An item whose value cannot be one has a `fault` and an empty value. */
  itemAt({ kind, id, fault }: Place, { value, create_revision, mod_revision }: Fields): Item {
    const revisions = { createRevision: Number(create_revision), modRevision: Number(mod_revision) }
    const parsed = fault ?? parse(value)
    if (typeof parsed !== 'string') return { kind, id, value: parsed, ...revisions }
    return { kind, id, value: {}, ...revisions, fault: parsed }
  }
}

export function isStranger(found: Found): found is Stranger {
  return found !== undefined && 'reason' in found
}

function below(prefix: string): { from: Buffer; to: Buffer } {
  const to = Buffer.from(prefix)
  // Every prefix ends in a slash, and so the byte after it is the end of what begins with it.
  to[to.length - 1]!++
  return { from: Buffer.from(prefix), to }
}

/** The text of a key, and whether it is what the key says: bytes that are no UTF-8 are shown as such. */
function read(key: Buffer): [text: string, readable: boolean] {
  try {
    return [strictUtf8.decode(key), true]
  } catch {
    return [key.toString('latin1').replace(/[^ -~]/g, byte => `\\x${byte.charCodeAt(0).toString(16)}`), false]
  }
}

/** An object, or what is wrong with the value. Never quotes it: it may hold secrets. */
function parse(value: Buffer): Readonly<Record<string, unknown>> | string {
  let text: string
  try {
    text = strictUtf8.decode(value)
  } catch {
    return 'the value is not UTF-8'
  }
  try {
    const parsed: unknown = JSON.parse(text)
    // Checked here already: what is too deep would end in a crash where it is cloned for a worker.
    return isObject(parsed) ? (shapeProblem(parsed) ?? parsed) : 'the value is not a JSON object'
  } catch {
    return 'the value is not JSON'
  }
}
