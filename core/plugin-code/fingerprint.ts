// What files look like from outside, to notice that one was saved; knows not what is in them.
import { stat } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

/** Changes when one of the files (URLs) is written, replaced, or gone. Links are followed. */
export async function fingerprint(urls: readonly string[]): Promise<string> {
  const looks = await Promise.all(
    urls.map(async url => {
      const seen = await stat(fileURLToPath(url)).catch(() => undefined)
      return `${url} ${seen?.mtimeMs} ${seen?.size} ${seen?.ino}`
    }),
  )
  return looks.sort().join('\n')
}
