// A store's configuration with its encrypted fields in clear: what workers get; knows not how it is encrypted.
import type { Change, ConfigSource, Item } from './store.ts'

/** `open` returns an item's value in clear; it must not change what it is given. */
export function opened(source: ConfigSource, open: (item: Item) => Item['value']): ConfigSource {
  const clear = (item: Item): Item => ({ ...item, value: open(item) })
  const clearChange = (change: Change): Change =>
    change.item === undefined ? change : { ...change, item: clear(change.item) }
  return {
    list: async () => {
      const { items, revision } = await source.list()
      return { items: items.map(clear), revision }
    },
    watch: (since, changed, lost) => source.watch(since, changes => changed(changes.map(clearChange)), lost),
  }
}
