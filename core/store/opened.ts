// A store's configuration with its encrypted fields in clear: what workers get; knows not how it is encrypted.
import { inSlices, steps } from '../slices.ts'
import type { Change, ConfigSource, Item } from './store.ts'

/** `open` returns an item's value in clear; it must not change what it is given. */
export function opened(source: ConfigSource, open: (item: Item) => Item['value']): ConfigSource {
  const clear = (item: Item): Item => ({ ...item, value: open(item) })
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
