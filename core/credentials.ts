// Who a credential belongs to, by plugin and digest: the time a look-up takes tells nothing of a secret.
import { hash } from 'node:crypto'
import type { Consumer } from './context.ts'
import type { Edition } from './edition.ts'
import type { Meta } from './pipeline.ts'
import type { Plugin } from './plugin.ts'
import { fillPlugin } from './resource.ts'

interface Claim {
  readonly edition: Edition<'consumers'>
  readonly consumer: Consumer
}

export class Credentials {
  readonly #plugins: ReadonlyMap<string, Plugin>
  /** Of one credential by the id of the consumer, so that two who share it are told apart alike everywhere. */
  readonly #claims = new Map<string, Claim[]>()

  constructor(plugins: ReadonlyMap<string, Plugin>) {
    this.#plugins = plugins
  }

  /** Throws, before it changes anything, what a plugin throws over its config. */
  add(edition: Edition<'consumers'>): void {
    for (const [key, consumer] of [...this.#of(edition)]) {
      const claims = [...(this.#claims.get(key) ?? []), { edition, consumer }]
      this.#claims.set(
        key,
        claims.sort((a, b) => (a.edition.id < b.edition.id ? -1 : Number(a.edition.id > b.edition.id))),
      )
    }
  }

  /** Takes back what `add` was given. */
  remove(edition: Edition<'consumers'>): void {
    for (const [key] of this.#of(edition)) {
      const others = (this.#claims.get(key) ?? []).filter(claim => claim.edition !== edition)
      if (others.length === 0) this.#claims.delete(key)
      else this.#claims.set(key, others)
    }
  }

  /** The consumer whose config of auth plugin `plugin` has this credential in that snapshot; of several, the last by id. */
  find(plugin: string, credential: string, snapshot: number): Consumer | undefined {
    return this.#claims.get(keyOf(plugin, credential))?.findLast(({ edition }) => edition.seenBy(snapshot))?.consumer
  }

  *#of({ resource }: Edition<'consumers'>): Iterable<[key: string, consumer: Consumer]> {
    const { username, labels = {}, plugins = {} } = resource
    for (const [name, config] of Object.entries(plugins)) {
      const known = this.#plugins.get(name)
      if (known?.type !== 'auth' || known.credential === undefined) continue
      if ((config as { _meta?: Meta })._meta?.disable === true) continue
      const auth = fillPlugin(known, config, 'consumer')
      yield [keyOf(name, known.credential(auth)), { username, labels, auth }]
    }
  }
}

function keyOf(plugin: string, credential: string): string {
  return `${plugin}\0${hash('sha256', credential, 'base64')}`
}
