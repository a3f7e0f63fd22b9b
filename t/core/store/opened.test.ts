// What workers get of a store whose secrets are encrypted: clear text, or the reason why there is none.
import assert from 'node:assert/strict'
import { Keyring } from '../../../core/keyring.ts'
import { opened } from '../../../core/store/opened.ts'
import type { Change, Item } from '../../../core/store/store.ts'
import { fakePlugins } from '../../helpers/admin.ts'
import { MemoryStore } from '../../helpers/memory-store.ts'
import { until } from '../../helpers/until.ts'

const ours = new Keyring(['0123456789abcdef'])
const foreign = new Keyring(['another sixteen!'], 'compat')

const consumer = (key: string) => ({ username: 'jack', plugins: { 'key-auth': { key } } })
const sealed = (ring: Keyring, key: string) =>
  ring.sealItem({ kind: 'consumers', id: 'jack', value: consumer(key) }, fakePlugins)

describe('a store opened for workers', () => {
  let store: MemoryStore
  beforeEach(() => {
    store = new MemoryStore()
  })
  afterEach(() => store.close())

  const source = () => opened(store, item => ours.openItem(item, fakePlugins))
  const put = (value: Item['value']) => store.write([{ kind: 'consumers', id: 'jack', value }])

  it('lists and tells what is encrypted in clear', async () => {
    await put(sealed(ours, 'k1'))
    const { items, revision } = await source().list()
    assert.deepEqual(
      items.map(({ value }) => value),
      [consumer('k1')],
    )
    const told: Change[] = []
    const end = source().watch(revision, changes => told.push(...changes), assert.fail)
    await put(sealed(ours, 'k2'))
    await store.write([{ kind: 'consumers', id: 'jack', value: null }])
    await until(() => told.length === 2, 'both changes are told')
    end()
    assert.deepEqual([told[0]?.item?.value, told[1]?.item], [consumer('k2'), undefined])
  })

  it('passes nothing on of an item with ciphertext that no key opens, but why', async () => {
    await put(sealed(foreign, 'k1'))
    const [item] = (await source().list()).items
    assert.deepEqual([item?.value, item?.fault], [{}, 'no key of the keyring opens plugins.key-auth.key'])
  })

  it('passes on what nobody ever encrypted', async () => {
    await put(consumer('auth-one'))
    const [item] = (await source().list()).items
    assert.deepEqual([item?.value, item?.fault], [consumer('auth-one'), undefined])
  })
})
