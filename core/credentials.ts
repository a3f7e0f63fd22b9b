// Who a credential belongs to, by plugin and digest: the time a look-up takes tells nothing of a secret.
import { hash } from 'node:crypto'
import type { Consumer } from './context.ts'
import type { Edition } from './edition.ts'
import type { Meta } from './pipeline.ts'
import type { Plugin } from './plugin.ts'
import { fillPlugin } from './resource.ts'
import { referencesIn } from './secrets/reference.ts'
import { veiled } from './secrets/veiled.ts'
import type { Snapshot } from './snapshot.ts'

/** What consumers are recognised by: their own plugin configs, and those of their credentials. */
export type Recognising = Edition<'consumers'> | Edition<'credentials'>

/** The part of a snapshot that is looked at. */
type View = Pick<Snapshot, 'number' | 'get'>

// Those of a worker's busiest clients.
const MAX_KNOWN = 4_096

export class Credentials {
  readonly #plugins: ReadonlyMap<string, Plugin>
  /** Of one credential by the id of the edition, so that two who share it are told apart alike everywhere. */
  readonly #claims = new Map<string, Claim[]>()
  /** Keys of credentials that somebody has, by plugin and credential: a digest costs 1 us, to find one that was made 0.1. */
  readonly #known = new Map<string, Map<string, string>>()

  constructor(plugins: ReadonlyMap<string, Plugin>) {
    this.#plugins = plugins
  }

  /** Throws, before it changes anything, what a plugin throws over its config. */
  add(edition: Recognising): void {
    for (const [key, auth] of [...this.#of(edition)]) {
      const claims = [...(this.#claims.get(key) ?? []), new Claim(edition, auth)]
      this.#claims.set(
        key,
        claims.sort((a, b) => (a.edition.id < b.edition.id ? -1 : Number(a.edition.id > b.edition.id))),
      )
    }
  }

  /** Takes back what `add` was given. */
  remove(edition: Recognising): void {
    for (const [key] of this.#of(edition)) {
      const others = (this.#claims.get(key) ?? []).filter(claim => claim.edition !== edition)
      if (others.length === 0) this.#claims.delete(key)
      else this.#claims.set(key, others)
    }
  }

  /** The consumer that has this credential of auth plugin `plugin` in a snapshot; of several, the last by id. */
  find(plugin: string, credential: string, snapshot: View): Consumer | undefined {
    const known = this.#known.get(plugin)?.get(credential)
    const key = known ?? keyOf(plugin, credential)
    const claims = this.#claims.get(key) ?? []
    for (let at = claims.length - 1; at >= 0; at--) {
      const consumer = claims[at]!.in(snapshot, this.#plugins.get(plugin)!)
      if (consumer === undefined) continue
      if (known === undefined) this.#remember(plugin, credential, key)
      return consumer
    }
    return undefined
  }

  /** Only what is somebody's, so that nobody can fill it with what he makes up. */
  #remember(plugin: string, credential: string, key: string): void {
    let known = this.#known.get(plugin)
    if (known === undefined || known.size === MAX_KNOWN) {
      known = new Map()
      this.#known.set(plugin, known)
    }
    known.set(credential, key)
  }

  *#of({ resource }: Recognising): Iterable<[key: string, auth: unknown]> {
    for (const [name, config] of Object.entries(resource.plugins ?? {})) {
      const known = this.#plugins.get(name)
      if (known?.type !== 'auth' || known.credential === undefined) continue
      if ((config as { _meta?: Meta })._meta?.disable === true) continue
      const auth = fillPlugin(known, config, 'consumer')
      // Whoever knows the reference does not know the secret.
      if (!referencesIn(auth).next().done) continue
      yield [keyOf(name, known.credential(auth)), auth]
    }
  }
}

/** That whoever has a credential is the consumer of an edition: its own, or the one that it is kept below. */
class Claim {
  readonly edition: Recognising
  readonly #auth: unknown
  readonly #username: string
  readonly #credentialId: string | undefined
  /** The consumer, and the edition of it in the snapshot that was looked at last. */
  #made: { of: Edition<'consumers'>; consumer: Consumer } | undefined

  constructor(edition: Recognising, auth: unknown) {
    this.edition = edition
    this.#auth = auth
    const [username = '', , credentialId] = edition.id.split('/')
    this.#username = username
    this.#credentialId = credentialId
  }

  /** Undefined where the snapshot has not the edition or not its consumer: a credential of nobody recognises nobody. */
  in(snapshot: View, plugin: Plugin): Consumer | undefined {
    if (!this.edition.seenBy(snapshot.number)) return undefined
    const username = this.#username
    const of = snapshot.get('consumers', username)
    if (of === undefined) return undefined
    if (this.#made?.of !== of) {
      const { labels = {}, group_id: groupId } = of.resource
      const auth = veiled(plugin, this.#auth)
      this.#made = { of, consumer: { username, labels, groupId, credentialId: this.#credentialId, auth } }
    }
    return this.#made.consumer
  }
}

function keyOf(plugin: string, credential: string): string {
  return `${plugin}\0${hash('sha256', credential, 'base64')}`
}
