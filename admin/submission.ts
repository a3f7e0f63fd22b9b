// What a client may send to be stored, and under which id (facts core 4.4, 4.5); knows neither store nor schema.
import { managerOf } from '../core/resource/secret.ts'
import { isObject } from '../core/schema.ts'
import { refuse } from './answer.ts'
import { prefixOf, type Target } from './kinds.ts'

type Json = Record<string, unknown>

/** A body that may be stored: an object, without the times, which are the server's. */
export function configuration({ kind }: Target, body: unknown, missing: string): Json {
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
  if (kind.timed && found.length > 0) throw refuse(400, `the property is forbidden:  ${found.join(' ')}`)
  return body
}

/** The id of a PUT: from the URL, or from the body; where both have it they must agree. */
export function idOf(target: Target, body: Json): string {
  const { kind, name } = target
  const sent = idText(body[kind.idAttribute])
  if (kind.kind === 'secrets') return secretId(name, sent)
  const prefix = prefixOf(target)
  const own = prefix !== '' && sent?.startsWith(prefix) ? sent.slice(prefix.length) : sent
  const id = own ?? name
  if (kind.kind === 'plugin_metadata' && id === undefined) throw refuse(400, 'missing plugin name')
  if (kind.idAttribute === 'id' && id === undefined) throw refuse(400, `missing ${kind.name} id`)
  if ((name !== undefined && id !== name) || (kind.nested && id?.includes('/'))) {
    throw refuse(400, `wrong ${kind.idAttribute === 'id' ? `${kind.name} id` : kind.idAttribute}`)
  }
  return id ?? ''
}

/** `manager/id`; the body may say only the second half. */
function secretId(name: string | undefined, own: string | undefined): string {
  const [manager = '', id = own?.split('/').at(-1)] = (name ?? own)?.split('/') ?? []
  if (manager === '') throw refuse(400, 'missing secret id')
  if (managerOf(manager) === undefined) throw refuse(400, `invalid secret manager: ${manager}`)
  if (id === undefined || id === '') throw refuse(400, 'missing secret id')
  if (own !== undefined && own !== id && own !== `${manager}/${id}`) throw refuse(400, 'wrong secret id')
  return `${manager}/${id}`
}

/** What the path says of an item besides its id. */
export function owner({ kind, parent }: Target): Json {
  return kind.kind === 'graphql_cost_decorations' ? { service_id: parent } : {}
}

export function idText(id: unknown): string | undefined {
  if (id === undefined || id === null) return undefined
  return typeof id === 'string' ? id : JSON.stringify(id)
}

/** Whether a PATCH leaves an attribute of the value alone. */
export function unpatched(path: readonly string[], body: unknown, attribute: string): boolean {
  const whole = path.length === 0 || path.at(-1) === ''
  return whole ? !Object.hasOwn(body as Json, attribute) : path[0] !== attribute
}
