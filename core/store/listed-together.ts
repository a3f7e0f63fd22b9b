// A source that is listed once for all who ask at the same time; knows not what they do with it.
import type { ConfigSource } from './store.ts'

/**
 * Reading a hundred thousand items takes a second of work. Whoever asks while they are being read gets that list, which
 * may be older than the call: watching from its revision makes it the present one.
 */
export function listedTogether(source: ConfigSource): ConfigSource {
  let listing: ReturnType<ConfigSource['list']> | undefined
  return {
    list() {
      listing ??= source.list().finally(() => {
        listing = undefined
      })
      return listing
    },
    watch: (since, changed, lost) => source.watch(since, changed, lost),
  }
}
