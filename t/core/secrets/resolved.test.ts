// A configuration with secrets in the place of references, as those who list and watch it get it.
import assert from 'node:assert/strict'
import { silent } from '../../../core/observe/log.ts'
import { ResolvedSource } from '../../../core/secrets/resolved.ts'
import { Secrets } from '../../../core/secrets/secrets.ts'
import type { Change, ConfigSource } from '../../../core/store/store.ts'
import { fakePlugins } from '../../helpers/admin.ts'
import { MemoryStore } from '../../helpers/memory-store.ts'
import { until } from '../../helpers/until.ts'

describe('a configuration with secret references', () => {
  let store: MemoryStore
  let env: Record<string, string>
  const opened: ResolvedSource[] = []

  beforeEach(() => {
    store = new MemoryStore()
    env = { KEY: 'one' }
  })
  afterEach(async () => {
    for (const each of opened.splice(0)) await each.close()
    await store.close()
  })

  function resolved(source: ConfigSource = store): ResolvedSource {
    const secrets = new Secrets({ env, log: silent, now: () => performance.now() })
    const made = new ResolvedSource({ source, secrets, plugins: fakePlugins, log: silent, lookEvery: 3_600_000 })
    opened.push(made)
    return made
  }
  const jack = (desc: string) => ({ username: 'jack', desc, plugins: { 'key-auth': { key: '$env://KEY' } } })
  const put = (desc: string) => store.write([{ kind: 'consumers', id: 'jack', value: jack(desc) }])
  const said = ({ item, revision }: Change) => {
    const { desc, plugins } = (item?.value ?? {}) as { desc?: string; plugins?: { 'key-auth': { key: string } } }
    return [desc, plugins?.['key-auth'].key, item?.modRevision, revision]
  }
  /** Lists, watches, and keeps what is told. */
  async function follow(source: ResolvedSource): Promise<Change[]> {
    const told: Change[] = []
    const { revision } = await source.list()
    source.watch(revision, changes => void told.push(...changes), assert.fail)
    return told
  }

  it('is told again, as whoever is told has it, when a secret has changed, and only then', async () => {
    const source = resolved()
    await put('first')
    const [one, two] = [await follow(source), await follow(source)]
    const revision = await store.write([{ kind: 'routes', id: '1', value: {} }])
    await until(() => one.length + two.length === 2, 'both have what was written since')
    await source.look()
    env.KEY = 'two'
    await source.look()
    await source.look()
    for (const told of [one, two]) assert.deepEqual(told.slice(1).map(said), [['first', 'two', 1, revision]])
    await store.write([{ kind: 'consumers', id: 'jack', value: null }])
    await until(() => one.length === 3 && two.length === 3, 'it is gone')
    env.KEY = 'three'
    await source.look()
    assert.deepEqual([one.length, two.length], [3, 3])
  })

  it('has what changed between a list and the watch that begins there', async () => {
    const source = resolved()
    await put('first')
    const { items, revision } = await source.list()
    assert.equal(items.length, 1)
    env.KEY = 'two'
    const told: Change[] = []
    source.watch(revision, changes => void told.push(...changes), assert.fail)
    await source.look()
    assert.deepEqual(told.map(said), [['first', 'two', 1, revision]])
  })

  it('is never told as an older list had it', async () => {
    await put('first')
    const older = await store.list()
    const source = resolved({ list: async () => older, watch: store.watch.bind(store) })
    const told = await follow(source)
    const revision = await put('second')
    await until(() => told.length === 1, 'the edit is told')
    await source.list()
    env.KEY = 'two'
    await source.look()
    assert.deepEqual(told.map(said), [
      ['second', 'one', 2, revision],
      ['second', 'two', 2, revision],
    ])
  })

  it('is to be listed again by who watches from a list that is long forgotten', async () => {
    const source = resolved()
    const { revision } = await source.list()
    for (let times = 0; times < 20; times++) {
      await put(`${times}`)
      await source.list()
    }
    let lost: Error | undefined
    const nobody = () => assert.fail()
    source.watch(revision, nobody, error => {
      lost = error
    })
    await until(() => lost !== undefined, 'it is lost')
  })

  it('has no secret manager in it, but says that something was written', async () => {
    const source = resolved()
    const told = await follow(source)
    const value = { id: 'vault/1', uri: 'http://127.0.0.1:1', prefix: 'kv', token: 'root' }
    const revision = await store.write([{ kind: 'secrets', id: 'vault/1', value }])
    await until(() => told.length === 1, 'it is told')
    assert.deepEqual(told, [{ kind: 'secrets', id: 'vault/1', item: undefined, revision }])
    assert.deepEqual((await source.list()).items, [])
  })
})
