// The code of the user's own plugins as it was at one moment: everything their files import, with the text of each.

/** A module as Node's loader hands it over. */
export interface Source {
  format: string
  text: string
}

/**
 * Workers run exactly what was checked, also one that takes a dead worker's place when the files on disk are broken by then.
 * It survives structured cloning.
 */
export interface PluginCode {
  /** URLs of the plugin files. */
  readonly entries: readonly string[]
  /** URLs of modules by `resolutionKey`. */
  readonly resolutions: ReadonlyMap<string, { url: string; format: string | undefined }>
  readonly sources: ReadonlyMap<string, Source>
}

/** No plugins of the user's own. */
export const noCode: PluginCode = { entries: [], resolutions: new Map(), sources: new Map() }

/** What a module (by URL) imports under a name. */
export function resolutionKey(specifier: string, parent: string | undefined): string {
  return `${parent ?? ''}\0${specifier}`
}

/** The files of an code that their user edits: packages change when they are installed, and then all at once. */
export function editedFiles({ sources }: PluginCode): string[] {
  return [...sources.keys()].filter(url => url.startsWith('file:') && !url.includes('/node_modules/'))
}
