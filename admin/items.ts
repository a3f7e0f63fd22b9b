// What the verbs do to the items of a kind: the one place that reads and writes the store; knows no HTTP but its statuses.
import type { Keyring } from '../core/keyring.ts'
import type { KnownPlugins } from '../core/known-plugins.ts'
import { resourceProblem, unservedIn, warnings } from '../core/resource.ts'
import { isObject } from '../core/schema.ts'
import { Conflict, type Guards, type Item, type Revision, type Store, type Write } from '../core/store/store.ts'
import type { Role } from './access.ts'
import { keyNotFound, refuse } from './answer.ts'
import type { Catalogue } from './catalogue.ts'
import { inPieces } from './in-pieces.ts'
import { type AdminKind, kinds, prefixOf, type Target } from './kinds.ts'
import { listed, type Query } from './listing.ts'
import { oneAtATime } from './one-at-a-time.ts'
import { merged, NoSuchPath, replaced } from './patch.ts'
import { type Precondition, preconditionFailed } from './preconditions.ts'
import { references } from './references.ts'
import { configuration, idOf, idText, owner, unpatched } from './submission.ts'

type Json = Record<string, unknown>

export interface ItemsDeps {
  store: Store
  /** Of the same store, with the tags that `references` needs. */
  catalogue: Catalogue
  plugins: KnownPlugins
  keyring: Keyring
  /** Resolves when the data plane serves this revision, or has been waited for long enough. */
  applied(revision: Revision): Promise<void>
  /** Milliseconds since the epoch. */
  now(): number
  /** What keys begin with: `/apisix`, or what etcd's begin with. */
  prefix?: string
}

export interface Answer {
  status: number
  /** Pieces are text. */
  body: object | AsyncIterable<string>
  /** When what is shown was changed, or changes now. */
  revision: Revision
  /** What was accepted without effect. */
  warnings?: readonly string[]
}

/** How a write is asked for. */
export interface Terms {
  precondition?: Precondition | undefined
  /** How long the item shall live. */
  ttlSeconds?: number | undefined
}

/** A parsed request body, undefined when there was none. */
export interface Change extends Terms {
  body: unknown
}

export interface Items {
  get(target: Target, role: Role): Promise<Answer>
  list(target: Target, query: Query, role: Role): Promise<Answer>
  put(target: Target, change: Change): Promise<Answer>
  post(target: Target, change: Change): Promise<Answer>
  patch(target: Target, change: Change): Promise<Answer>
  delete(target: Target, terms: Terms & { force: boolean }): Promise<Answer>
}

/** A reference that changes while it is looked at is looked at again, so many times. */
const looks = 3

/** Every refusal is thrown as `Refused` with the codes and messages of facts core 4.3 to 4.8. */
export function itemsOf(deps: ItemsDeps): Items {
  const { store, catalogue, plugins, keyring, applied, now, prefix = '/apisix' } = deps
  const { checkWrite, checkDelete } = references(deps)
  /*
   * From the first look at the store to the write, changes go one at a time: a service cannot be deleted while a route is
   * being put on it. What others write meanwhile to a store that is not ours alone (etcd), guards notice.
   */
  const alone = oneAtATime()

  const seconds = () => Math.floor(now() / 1000)
  const keyOf = ({ directory }: AdminKind, id: string) => `${prefix}/${directory}/${id}`

  function shown({ kind }: Target, item: Item, role: Role): object {
    const { key: _, keys: __, ...withoutKeys } = kind.kind === 'ssls' ? item.value : {}
    const entry = kind.kind === 'ssls' ? { ...item, value: withoutKeys } : item
    return {
      key: keyOf(kind, item.id),
      value: role === 'admin' ? keyring.openItem(entry, plugins).value : keyring.maskItem(entry, plugins),
      createdIndex: item.createRevision,
      modifiedIndex: item.modRevision,
    }
  }

  /** Checks a whole value as it was sent, stores it sealed, and says so. Only to be called `alone`. */
  async function keep(
    { kind, id, item }: { kind: AdminKind; id: string; item?: Item | undefined },
    sent: Json,
    how: { status: number; ttlSeconds: number | undefined; guards: Guards },
  ): Promise<Answer> {
    const place = { kind: kind.directory, id }
    const { value, problem: unknown } = keyring.submitted({ ...place, value: sent }, plugins, item)
    if (unknown !== undefined) throw refuse(400, `invalid configuration: ${unknown}`)
    const problem = resourceProblem(kind.kind, value, plugins)
    if (problem !== undefined) throw refuse(400, problem)
    const sealed = keyring.sealItem({ ...place, value }, plugins, item)
    const ttl = how.ttlSeconds === undefined ? {} : { ttlSeconds: how.ttlSeconds }
    const changes = [{ kind: kind.directory, id, value: sealed, ...ttl }]
    const revision = await write(changes, how.guards, async () => {
      const guards = await checkWrite(kind.kind, id, value)
      const unserved = unservedIn(kind.kind, value, plugins)
      if (unserved !== undefined) throw refuse(400, unserved)
      return guards
    })
    const said = warnings(kind.kind, value, plugins)
    return { status: how.status, body: { key: keyOf(kind, id), value: sealed }, revision, warnings: said }
  }

  /** Writes if what `look` saw still holds. Throws Conflict when one of the write's `own` guards does not. */
  async function write(changes: readonly Write[], own: Guards, look: () => Promise<Guards>): Promise<Revision> {
    for (let left = looks; ; left--) {
      const seen = await look()
      try {
        const revision = await store.write(changes, [...own, ...seen])
        await catalogue.reached(revision)
        return revision
      } catch (error) {
        if (!(error instanceof Conflict) || left === 1) throw error
        for (const { kind, id, modRevision } of own) {
          if (((await store.get(kind, id))?.modRevision ?? 0) !== modRevision) throw error
        }
      }
    }
  }

  /** A write on the terms of the client. The next request must see it, wherever it is answered. */
  async function settled(target: Target, { precondition }: Terms, act: () => Promise<Answer>): Promise<Answer> {
    const answer = await alone(async () => {
      try {
        return await act()
      } catch (error) {
        if (!(error instanceof Conflict) || precondition === undefined || target.name === undefined) throw error
        const item = await store.get(target.kind.directory, prefixOf(target) + target.name)
        throw preconditionFailed(item?.modRevision ?? 0)
      }
    })
    await applied(answer.revision)
    return answer
  }

  /** The item as it is. A client with a precondition wants exactly this one changed. */
  async function existing(kind: AdminKind, id: string, { precondition }: Terms) {
    const item = await store.get(kind.directory, id)
    precondition?.(item?.modRevision)
    const modRevision = item?.modRevision ?? 0
    return { item, guards: precondition === undefined ? [] : [{ kind: kind.directory, id, modRevision }] }
  }

  return {
    async get(target, role) {
      const item = await store.get(target.kind.directory, prefixOf(target) + target.name)
      if (item === undefined) throw keyNotFound()
      if (item.fault !== undefined) throw refuse(500, `this is no resource: ${item.fault}`)
      return { status: 200, body: shown(target, item, role), revision: item.modRevision }
    },

    async list(target, query, role) {
      const { kind } = target
      await catalogue.reached(await store.revision())
      const all = catalogue.of(kind.kind, prefixOf(target))
      // Clients of APISIX rely on both (facts clients): an empty list, and that nobody's credentials are not found.
      if (kind.kind === 'credentials' && all.length === 0) throw keyNotFound()
      const { total, items } = listed(all, kind.kind, query)
      const around = { before: `{"total":${total},"list":`, after: '}\n' }
      const body = inPieces(items, item => shown(target, item, role), around)
      return { status: 200, body, revision: catalogue.revisionOf(kind.kind) }
    },

    put(target, change) {
      const { kind } = target
      const sent = configuration(target, change.body, 'missing configurations')
      const name = idOf(target, sent)
      return settled({ ...target, name }, change, async () => {
        const id = prefixOf(target) + name
        const { item, guards } = await existing(kind, id, change)
        const created = item?.value.create_time
        const times = { create_time: typeof created === 'number' ? created : seconds(), update_time: seconds() }
        const value = {
          ...sent,
          ...(kind.idAttribute === 'id' && { id: typeof sent.id === 'number' ? sent.id : name }),
          ...(kind.timed && times),
          ...owner(target),
        }
        const { ttlSeconds } = change
        return keep({ kind, id, item }, value, { status: item === undefined ? 201 : 200, ttlSeconds, guards })
      })
    },

    post(target, change) {
      const { kind } = target
      const sent = configuration(target, change.body, 'missing configurations')
      if (target.name !== undefined || sent.id !== undefined) throw refuse(400, `wrong ${kind.name} id, do not need it`)
      return settled(target, change, async () => {
        if (change.precondition !== undefined) {
          await catalogue.reached(await store.revision())
          change.precondition(catalogue.revisionOf(kind.kind))
        }
        // Microseconds: as long as APISIX's ids, and larger than every one before.
        for (let number = now() * 1000; ; number++) {
          const name = String(number).padStart(20, '0')
          const id = prefixOf(target) + name
          const times = { create_time: seconds(), update_time: seconds() }
          const value = { ...sent, id: name, ...times, ...owner(target) }
          const guards = [{ kind: kind.directory, id, modRevision: 0 }]
          try {
            return await keep({ kind, id }, value, { status: 201, ttlSeconds: change.ttlSeconds, guards })
          } catch (error) {
            if (!(error instanceof Conflict)) throw error
          }
        }
      })
    },

    patch(target, change) {
      const { kind, name, path } = target
      const { body, ttlSeconds } = change
      if (name === undefined || name.split('/').length < kind.segments) {
        throw refuse(400, kind.kind === 'secrets' ? 'no secret id' : `missing ${kind.name} id`)
      }
      if (body === undefined) throw refuse(400, 'missing new configuration')
      if (path.length === 0 && !isObject(body)) throw refuse(400, 'invalid configuration')
      return settled(target, change, async () => {
        const id = prefixOf(target) + name
        const { item } = await existing(kind, id, change)
        if (item === undefined) throw keyNotFound()
        const old = keyring.openItem(item, plugins).value
        const result = path.length === 0 ? merged(old, body as Json) : replacedAt(old, path, body)
        if (!isObject(result)) throw refuse(400, 'invalid configuration')
        if ((idText(result.id) ?? name) !== name) throw refuse(400, `wrong ${kind.name} id`)
        const value = {
          ...(old.create_time !== undefined && { create_time: old.create_time }),
          ...result,
          id: result.id ?? name,
          ...(unpatched(path, body, 'update_time') && { update_time: seconds() }),
        }
        const guards = [{ kind: kind.directory, id, modRevision: item.modRevision }]
        return keep({ kind, id, item }, value, { status: 200, ttlSeconds, guards })
      })
    },

    delete(target, terms) {
      const { kind, name } = target
      if (name === undefined) throw refuse(400, `missing ${kind.name} id`)
      return settled(target, terms, async () => {
        const id = prefixOf(target) + name
        const { item, guards } = await existing(kind, id, terms)
        if (item === undefined) throw keyNotFound()
        if (!terms.force) checkDelete(kind.kind, id)
        // With all that is below it: what others have put there meanwhile would belong to whoever comes by that name next.
        const below = kinds.some(inner => inner.nested && inner.directory === kind.kind)
        const revision = await write([{ kind: item.kind, id, value: null, below }], guards, async () => [])
        // Not the id: how many, as etcd says it.
        return { status: 200, body: { deleted: '1', key: keyOf(kind, id) }, revision }
      })
    },
  }
}

function replacedAt(value: Json, path: readonly string[], part: unknown): unknown {
  try {
    return replaced(value, path, part)
  } catch (error) {
    if (error instanceof NoSuchPath) throw refuse(400, `invalid sub-path: ${error.at}`)
    throw error
  }
}
