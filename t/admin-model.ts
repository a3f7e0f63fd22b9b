// What a sequence of admin calls must come to, as a plain model; any store behind the API must come to the same.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { startAdminOn } from './helpers/admin.ts'
import type { EmptyStore } from './helpers/stores.ts'

type Json = Record<string, unknown>

export interface Step {
  verb: 'PUT' | 'POST' | 'PATCH' | 'DELETE' | 'GET'
  collection: string
  id: string
  body: Json
  force: boolean
}

const ids = fc.constantFrom('1', '2')
const reference = fc.option(ids, { nil: undefined })
const text = fc.option(fc.constantFrom('x', 'y'), { nil: undefined })
const nonsense = fc.oneof({ weight: 12, arbitrary: fc.constant(undefined) }, fc.constant(1))
const labels = fc.option(
  fc.dictionary(fc.constantFrom('a', 'b'), fc.constantFrom('v', 'w'), { noNullPrototype: true }),
  {
    nil: undefined,
  },
)

/** Of each collection, what is put into it. */
const bodies: Record<string, fc.Arbitrary<Json>> = {
  routes: fc.record({
    uri: fc.constantFrom('/a', '/b'),
    plugins: fc.constantFrom(
      {},
      { late: { n: 1 } },
      { 'ai-proxy': { provider: 'openai', auth: { header: { a: 's' } } } },
    ),
    upstream_id: reference,
    service_id: reference,
    desc: text,
    labels,
    nonsense,
  }),
  services: fc.record({ upstream_id: reference, desc: text, labels, nonsense }),
  upstreams: fc.record({ nodes: fc.constantFrom({}, { 'a:1': 1 }, { 'a:1': 2, 'b:1': 1 }), desc: text, nonsense }),
  consumers: fc.record({
    username: ids,
    plugins: fc.constantFrom({}, { 'key-auth': { key: 'k1' } }, { 'key-auth': { key: 'k2' } }),
    nonsense,
  }),
  global_rules: fc.record({
    plugins: fc.constantFrom({}, { late: {} }, { late: { n: 2 } }, { 'key-auth': {} }),
    nonsense,
  }),
  plugin_configs: fc.record({ plugins: fc.constantFrom({}, { late: { n: 1 } }), desc: text, nonsense }),
  ...Object.fromEntries(
    ['1', '2'].map(owner => [
      `consumers/${owner}/credentials`,
      fc.record({
        plugins: fc.constantFrom({}, { 'key-auth': { key: 'k1' } }, { 'key-auth': { key: 'k3' } }),
        nonsense,
      }),
    ]),
  ),
}

const verbs = (collection: string) =>
  /^(routes|services|upstreams)$/.test(collection)
    ? fc.constantFrom<Step['verb']>('PUT', 'PUT', 'PUT', 'POST', 'PATCH', 'PATCH', 'DELETE')
    : fc.constantFrom<Step['verb']>('PUT', 'PUT', 'DELETE', 'GET')

const step = fc.constantFrom(...Object.keys(bodies)).chain(collection =>
  fc
    .record({
      verb: verbs(collection),
      collection: fc.constant(collection),
      id: ids,
      body: bodies[collection]!,
      patch: fc.dictionary(
        fc.constantFrom('desc', 'labels', 'nodes', 'upstream_id'),
        fc.constantFrom(null, 'new', 'new'),
        {
          noNullPrototype: true,
        },
      ),
      force: fc.boolean(),
    })
    .map(({ patch, ...rest }): Step => {
      if (rest.verb !== 'PATCH') return rest
      const body = Object.entries(patch).map(([name, part]) => [name, part === null ? null : rest.body[name]])
      return { ...rest, body: Object.fromEntries(body) as Json }
    }),
)

export const steps: fc.Arbitrary<Step[]> = fc.array(step, { minLength: 30, maxLength: 60, size: 'max' })

/** Plays the steps on the API over an empty store and on the model; answers and lists must agree after every step. */
export async function agreeOn(open: () => Promise<EmptyStore>, all: readonly Step[]): Promise<void> {
  const { store, source, remove } = await open()
  try {
    await agree({ store, source }, all)
  } finally {
    await remove()
  }
}

async function agree({ store, source }: Pick<EmptyStore, 'store' | 'source'>, all: readonly Step[]): Promise<void> {
  let seconds = 1_700_000_000
  const api = await startAdminOn(store, { now: () => seconds * 1000, source })
  const model = new Model()
  try {
    for (const step of all) {
      seconds++
      const { verb, collection, id, force } = step
      const path = `/${collection}${verb === 'POST' ? '' : `/${id}`}${verb === 'DELETE' && force ? '?force=true' : ''}`
      const body = JSON.parse(
        JSON.stringify(verb === 'POST' ? { ...step.body, username: undefined } : step.body),
      ) as Json
      if (collection === 'consumers') body.username = id
      const reply = await api.admin(verb, path, verb === 'GET' || verb === 'DELETE' ? undefined : body)
      const made = verb === 'POST' ? (reply.json?.value?.id as string | undefined) : id
      const expected = model.play({ ...step, id: made ?? id, body }, seconds)
      const what = `${verb} ${path} ${JSON.stringify(body)} -> ${reply.text}`
      assert.equal(reply.status, expected.status, what)
      if (expected.error !== undefined) assert.equal(reply.json.error_msg ?? reply.json.message, expected.error, what)
      for (const each of Object.keys(bodies)) {
        const { status, json } = await api.admin('GET', `/${each}`)
        const listed = model.list(each)
        if (each.endsWith('credentials') && listed.length === 0) assert.equal(status, 404)
        else
          assert.deepEqual(
            json.list.map((item: Json) => item.value),
            listed,
            `${each} after ${what}`,
          )
      }
      const page = await api.admin('GET', '/routes?page=1&page_size=500')
      assert.deepEqual(
        page.json.list.map((item: { value: Json }) => item.value.id),
        model.inOrderOfCreation('routes'),
        what,
      )
    }
  } finally {
    await api.close()
  }
}

interface Expected {
  status: number
  error?: string
}

/** Plain objects, no indexes, no store: slow and obviously right. */
class Model {
  /** By collection and id, in the order of creation. */
  readonly #items = new Map<string, Json>()

  play({ verb, collection, id, body, force }: Step, now: number): Expected {
    const key = `${collection}/${id}`
    const existing = this.#items.get(key)
    switch (verb) {
      case 'GET':
        return existing === undefined ? missing : { status: 200 }
      case 'DELETE': {
        if (existing === undefined) return missing
        const user = force ? undefined : this.#userOf(collection, id)
        if (user !== undefined) return { status: 400, error: user }
        this.#items.delete(key)
        if (collection !== 'consumers') return { status: 200 }
        for (const below of [...this.#items.keys()])
          if (below.startsWith(`${key}/credentials/`)) this.#items.delete(below)
        return { status: 200 }
      }
      case 'PATCH': {
        if (existing === undefined) return missing
        const { update_time: _, ...rest } = existing
        const value = { ...merge(rest, body), update_time: now }
        return this.#write(collection, id, value, 200)
      }
      default: {
        const own = collection === 'consumers' ? {} : { id }
        const times = { create_time: existing?.create_time ?? now, update_time: now }
        return this.#write(collection, id, { ...body, ...own, ...times }, existing === undefined ? 201 : 200)
      }
    }
  }

  list(collection: string): Json[] {
    const under = [...this.#items].filter(([key]) => collectionOf(key) === collection)
    return under.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value)
  }

  inOrderOfCreation(collection: string): unknown[] {
    return [...this.#items].filter(([key]) => collectionOf(key) === collection).map(([, value]) => value.id)
  }

  #write(collection: string, id: string, value: Json, status: number): Expected {
    const problem = this.#problem(collection, id, value)
    if (problem !== undefined) return problem
    this.#items.set(`${collection}/${id}`, value)
    return { status }
  }

  #problem(collection: string, id: string, value: Json): Expected | undefined {
    if (value.nonsense !== undefined)
      return refused('invalid configuration: additional properties forbidden, found nonsense')
    if (collection === 'upstreams' && value.nodes === undefined) {
      return refused('invalid configuration: value should match only one schema, but matches none')
    }
    for (const name of ['upstream', 'service']) {
      const referred = value[`${name}_id`]
      if (referred === undefined || this.#items.has(`${name}s/${referred}`)) continue
      return refused(`failed to fetch ${name} info by ${name} id [${referred}], response code: 404`)
    }
    const [, username] = collection.split('/')
    if (username !== undefined && !this.#items.has(`consumers/${username}`)) {
      return { status: 404, error: 'consumer not found' }
    }
    for (const [key, other] of this.#items) {
      if (key === `${collection}/${id}`) continue
      const [kind, first, , second] = key.split('/')
      if (kind === 'consumers' && keyOf(value) !== undefined && keyOf(other) === keyOf(value)) {
        // Which one of several is named is not said here.
        if (collection.startsWith('consumers')) return { status: 400 }
      }
      if (collection !== 'global_rules' || kind !== 'global_rules') continue
      const both = Object.keys(value.plugins as Json).find(name => name in (other.plugins as Json))
      if (both !== undefined)
        return refused(`plugin '${both}' already exists in global rule with id '${second ?? first}'`)
    }
    return undefined
  }

  #userOf(collection: string, id: string): string | undefined {
    const name = collection === 'services' ? 'service' : 'upstream'
    if (collection !== 'services' && collection !== 'upstreams') return undefined
    const said = collection === 'services' ? 'can not delete this service directly' : 'can not delete this upstream'
    for (const kind of ['routes', 'services']) {
      const user = this.list(kind).find(value => value[`${name}_id`] === id)
      if (user !== undefined) return `${said}, ${kind.slice(0, -1)} [${user.id}] is still using it now`
    }
    return undefined
  }
}

const missing = { status: 404, error: 'Key not found' }
const refused = (error: string): Expected => ({ status: 400, error })

function collectionOf(key: string): string {
  return key.slice(0, key.lastIndexOf('/'))
}

function keyOf({ plugins }: Json): unknown {
  return (plugins as { 'key-auth'?: { key?: unknown } } | undefined)?.['key-auth']?.key
}

function merge(value: Json, patch: Json): Json {
  const result = { ...value }
  for (const [key, part] of Object.entries(patch)) {
    if (part === null) {
      delete result[key]
      continue
    }
    const [old, both] = [result[key], [result[key], part].every(each => typeof each === 'object' && each !== null)]
    result[key] = both ? merge(old as Json, part as Json) : part
  }
  return result
}
