// What the verbs do to the items of a kind: the one place that reads and writes the store; knows no HTTP but its statuses.
import type { Keyring } from '../core/keyring.ts'
import type { Plugin } from '../core/plugin.ts'
import { checkResource, warnings } from '../core/resource.ts'
import { isObject } from '../core/schema.ts'
import { Conflict, type Guards, type Item, type Revision, type Store } from '../core/store/store.ts'
import type { Role } from './access.ts'
import { keyNotFound, refuse } from './answer.ts'
import type { WritableKind } from './kinds.ts'
import { listed, type Query } from './listing.ts'
import { oneAtATime } from './one-at-a-time.ts'
import { merged, NoSuchPath, replaced } from './patch.ts'
import { references } from './references.ts'

type Json = Record<string, unknown>

export interface ItemsDeps {
  store: Store
  plugins: ReadonlyMap<string, Plugin>
  keyring: Keyring
  /** Resolves when the data plane serves this revision, or has been waited for long enough. */
  applied(revision: Revision): Promise<void>
  /** Milliseconds since the epoch. */
  now(): number
}

export interface Answer {
  status: number
  body: object
  /** What was accepted without effect. */
  warnings?: readonly string[]
}

/** A parsed request body, undefined when there was none, and how long the item shall live. */
export interface Change {
  body: unknown
  ttlSeconds?: number
}

export interface Items {
  get(kind: WritableKind, id: string, role: Role): Promise<Answer>
  list(kind: WritableKind, query: Query, role: Role): Promise<Answer>
  put(kind: WritableKind, id: string | undefined, change: Change): Promise<Answer>
  post(kind: WritableKind, id: string | undefined, change: Change): Promise<Answer>
  /** `path` is empty for the whole value. */
  patch(kind: WritableKind, id: string | undefined, change: Change & { path: readonly string[] }): Promise<Answer>
  delete(kind: WritableKind, id: string | undefined, force: boolean): Promise<Answer>
}

/** Every refusal is thrown as `Refused` with the codes and messages of facts core 4.3 to 4.8. */
export function itemsOf(deps: ItemsDeps): Items {
  const { store, plugins, keyring, applied, now } = deps
  const { checkWrite, checkDelete } = references(deps)
  /*
   * From the first look at the store to the write, changes go one at a time: a service cannot be deleted while a route is
   * being put on it. That is enough for a store that only this process writes; one that others write too (etcd) would
   * have to guard what was looked at.
   */
  const alone = oneAtATime()

  const seconds = () => Math.floor(now() / 1000)
  const keyOf = ({ kind }: WritableKind, id: string) => `/apisix/${kind}/${id}`

  function shown(kind: WritableKind, item: Item, role: Role): object {
    const view = role === 'admin' ? keyring.openItem.bind(keyring) : keyring.maskItem.bind(keyring)
    return {
      key: keyOf(kind, item.id),
      value: view(kind.kind, item.value, plugins),
      createdIndex: item.createRevision,
      modifiedIndex: item.modRevision,
    }
  }

  /** Checks a whole value (in clear), stores it sealed, and says so. Only to be called `alone`. */
  async function keep(
    kind: WritableKind,
    id: string,
    value: Json,
    how: { status: number; ttlSeconds: number | undefined; guards?: Guards },
  ): Promise<Answer & { revision: Revision }> {
    const problem = checkResource(kind.kind, value, plugins)
    if (problem !== undefined) throw refuse(400, problem)
    await checkWrite(kind.kind, id, value)
    const sealed = keyring.sealItem(kind.kind, value, plugins)
    const answer = {
      status: how.status,
      body: { key: keyOf(kind, id), value: sealed },
      warnings: warnings(kind.kind, value, plugins),
    }
    const ttl = how.ttlSeconds === undefined ? {} : { ttlSeconds: how.ttlSeconds }
    const revision = await store.write([{ kind: kind.kind, id, value: sealed, ...ttl }], how.guards)
    return { ...answer, revision }
  }

  /** The next request must see the change, wherever it is answered. */
  async function settled({ revision, ...answer }: Answer & { revision: Revision }): Promise<Answer> {
    await applied(revision)
    return answer
  }

  return {
    async get(kind, id, role) {
      const item = await store.get(kind.kind, id)
      if (item === undefined) throw keyNotFound()
      return { status: 200, body: shown(kind, item, role) }
    },

    async list(kind, query, role) {
      const { items } = await store.list()
      const page = listed(
        items.filter(item => item.kind === kind.kind),
        kind.kind,
        query,
      )
      return { status: 200, body: { total: page.total, list: page.items.map(item => shown(kind, item, role)) } }
    },

    async put(kind, urlId, { body, ttlSeconds }) {
      const sent = configuration(body, 'missing configurations')
      const id = putId(kind, urlId, sent)
      const answer = await alone(async () => {
        const existing = await store.get(kind.kind, id)
        const created = existing?.value.create_time
        const value = {
          ...sent,
          ...(kind.kind === 'consumers' ? {} : { id: sent.id ?? id }),
          create_time: typeof created === 'number' ? created : seconds(),
          update_time: seconds(),
        }
        return keep(kind, id, value, { status: existing === undefined ? 201 : 200, ttlSeconds })
      })
      return settled(answer)
    },

    async post(kind, urlId, { body, ttlSeconds }) {
      const sent = configuration(body, 'missing configurations')
      if (urlId !== undefined || sent.id !== undefined) throw refuse(400, `wrong ${kind.name} id, do not need it`)
      const answer = await alone(async () => {
        // Microseconds: as long as APISIX's ids, and larger than every one before.
        for (let number = now() * 1000; ; number++) {
          const id = String(number).padStart(20, '0')
          const value = { ...sent, id, create_time: seconds(), update_time: seconds() }
          const guards = [{ kind: kind.kind, id, modRevision: 0 }]
          try {
            return await keep(kind, id, value, { status: 201, ttlSeconds, guards })
          } catch (error) {
            if (!(error instanceof Conflict)) throw error
          }
        }
      })
      return settled(answer)
    },

    async patch(kind, id, { body, ttlSeconds, path }) {
      if (id === undefined) throw refuse(400, `missing ${kind.name} id`)
      if (body === undefined) throw refuse(400, 'missing new configuration')
      if (path.length === 0 && !isObject(body)) throw refuse(400, 'invalid configuration')
      const answer = await alone(async () => {
        const item = await store.get(kind.kind, id)
        if (item === undefined) throw keyNotFound()
        const old = keyring.openItem(kind.kind, item.value, plugins)
        const result = path.length === 0 ? merged(old, body as Json) : replacedAt(old, path, body)
        if (!isObject(result)) throw refuse(400, 'invalid configuration')
        if ((idText(result.id) ?? id) !== id) throw refuse(400, `wrong ${kind.name} id`)
        const whole = path.length === 0 || path.at(-1) === ''
        const given = whole ? Object.hasOwn(body as Json, 'update_time') : path[0] === 'update_time'
        const value = {
          ...(old.create_time !== undefined && { create_time: old.create_time }),
          ...result,
          id: result.id ?? id,
          ...(!given && { update_time: seconds() }),
        }
        const guards = [{ kind: kind.kind, id, modRevision: item.modRevision }]
        return keep(kind, id, value, { status: 200, ttlSeconds, guards })
      })
      return settled(answer)
    },

    async delete(kind, id, force) {
      if (id === undefined) throw refuse(400, `missing ${kind.name} id`)
      const answer = await alone(async () => {
        if ((await store.get(kind.kind, id)) === undefined) throw keyNotFound()
        if (!force) await checkDelete(kind.kind, id)
        const revision = await store.write([{ kind: kind.kind, id, value: null }])
        return { status: 200, body: { deleted: id, key: keyOf(kind, id) }, revision }
      })
      return settled(answer)
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

/** A body that may be stored: an object, without the times, which are the server's (facts core 4.5). */
function configuration(body: unknown, missing: string): Json {
  if (body === undefined) throw refuse(400, missing)
  if (!isObject(body)) {
    const type = Array.isArray(body) ? 'table' : typeof body
    throw refuse(400, `invalid configuration: wrong type: expected object, got ${type}`)
  }
  const places = [
    ['', body],
    ['upstream.', body.upstream],
    ['plugins.', body.plugins],
  ] as const
  const found = places.flatMap(([prefix, place]) =>
    ['create_time', 'update_time']
      .filter(time => isObject(place) && Object.hasOwn(place, time))
      .map(time => prefix + time),
  )
  if (found.length > 0) throw refuse(400, `the property is forbidden:  ${found.join(' ')}`)
  return body
}

/** The key of a PUT: from the URL, or from the body; where both have it they must agree (facts core 4.4). */
function putId(kind: WritableKind, urlId: string | undefined, body: Json): string {
  const attribute = kind.kind === 'consumers' ? 'username' : 'id'
  const own = idText(body[attribute])
  if (attribute === 'id' && (own ?? urlId) === undefined) throw refuse(400, `missing ${kind.name} id`)
  if (urlId !== undefined && own !== undefined && own !== urlId) {
    throw refuse(400, `wrong ${attribute === 'id' ? `${kind.name} id` : attribute}`)
  }
  return own ?? urlId ?? ''
}

function idText(id: unknown): string | undefined {
  if (id === undefined || id === null) return undefined
  return typeof id === 'string' ? id : JSON.stringify(id)
}
