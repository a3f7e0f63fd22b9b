// What files look like from outside, to notice that one was saved; knows not what is in them.
import { stat } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

/** By URL; what a file looks like changes when it is written, replaced, or gone. Links are followed. */
export type Looks = ReadonlyMap<string, string>

export async function looksOf(urls: readonly string[]): Promise<Looks> {
  const looks = await Promise.all(
    urls.map(async (url): Promise<[string, string]> => {
      const seen = await stat(fileURLToPath(url)).catch(() => undefined)
      return [url, `${seen?.mtimeMs} ${seen?.size} ${seen?.ino}`]
    }),
  )
  return new Map(looks)
}

export function areSame(one: Looks, other: Looks): boolean {
  return one.size === other.size && [...one].every(([url, look]) => other.get(url) === look)
}

/**
 * What is known of files that were `read` after they looked as `before`: a file that has changed since keeps its old look, and
 * one that was not there to be read has none, so that the next look at them finds a difference. Only of those that nobody knew
 * of before, the look is from after they were read.
 */
export function noted(before: Looks, after: Looks, read: readonly string[]): Looks {
  const first = new Set(read)
  return new Map(
    [...after].flatMap(([url, now]) => {
      const look = before.get(url) ?? (first.has(url) ? now : undefined)
      return look === undefined ? [] : [[url, look] as const]
    }),
  )
}
