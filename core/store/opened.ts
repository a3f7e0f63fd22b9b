// A store's configuration with its encrypted fields in clear: what workers get; knows not how it is encrypted.
import { lockedReason, type Opened } from '../keyring.ts'
import { inSlices, steps } from '../slices.ts'
import type { Change, ConfigSource, Item } from './store.ts'

/** Of an item with a field that no key opens only that is passed on: ciphertext is no secret. */
export function opened(source: ConfigSource, open: (item: Item) => Opened): ConfigSource {
  const clear = (item: Item): Item => {
    if (item.fault !== undefined) return item
    const {
      value,
      locked: [locked],
    } = open(item)
    return locked === undefined ? { ...item, value } : { ...item, value: {}, fault: lockedReason(locked) }
  }
  const clearChange = (change: Change): Change =>
    change.item === undefined ? change : { ...change, item: clear(change.item) }
  return {
    list: async () => {
      const { items, revision } = await source.list()
      const opened: Item[] = []
      await inSlices(steps(items, item => opened.push(clear(item))))
      return { items: opened, revision }
    },
    watch: (since, changed, lost) => source.watch(since, changes => changed(changes.map(clearChange)), lost),
  }
}
