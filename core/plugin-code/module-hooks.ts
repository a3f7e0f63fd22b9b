// Node's module loader, told where `sluice` is and which code to run; knows no plugin. Hooks are a thread's own.
import { registerHooks } from 'node:module'
import { type PluginCode, resolutionKey, type Source } from './code.ts'

/** What a plugin may import of us, wherever its folder lies; always this very gateway's, so that slots and types are shared. */
const OFFERED: Readonly<Record<string, string>> = {
  sluice: new URL('../sluice.ts', import.meta.url).href,
  'sluice/koa': new URL('../koa.ts', import.meta.url).href,
  'sluice/testing': new URL('../../t/testing.ts', import.meta.url).href,
}

const root = new URL('../../', import.meta.url).href
/** What is in these folders of ours belongs to no plugin. */
const HOUSE = ['core/', 'plugins/', 'admin/', 'node_modules/'].map(folder => root + folder)

// Text of all modules together: a plugin that imports half of npm shall not be copied into every worker.
const MAX_TEXT = 64 * 1024 * 1024

/** `import ... from 'sluice'` finds the gateway that runs. */
export function offerSluice(): void {
  registerHooks({
    resolve(specifier, context, next) {
      const url = OFFERED[specifier]
      return url === undefined ? next(specifier, context) : { url, shortCircuit: true }
    },
  })
}

/** From now on modules come from the code; what it does not have comes from the disk. */
export function serveCode({ resolutions, sources }: PluginCode): void {
  registerHooks({
    resolve(specifier, context, next) {
      const known = resolutions.get(resolutionKey(specifier, context.parentURL))
      return known === undefined ? next(specifier, context) : { ...known, shortCircuit: true }
    },
    load(url, context, next) {
      const known = sources.get(url)
      return known === undefined ? next(url, context) : { format: known.format, source: known.text, shortCircuit: true }
    },
  })
}

/** Notes from now on everything that modules outside of the gateway import. */
export function recordCode(): Pick<PluginCode, 'resolutions' | 'sources'> {
  const resolutions = new Map<string, { url: string; format: string | undefined }>()
  const sources = new Map<string, Source>()
  let text = 0
  registerHooks({
    resolve(specifier, context, next) {
      const resolved = next(specifier, context)
      const { url, format } = resolved
      if (!isOurs(url) && !isOurs(context.parentURL ?? root) && url.startsWith('file:'))
        resolutions.set(resolutionKey(specifier, context.parentURL), { url, format: format ?? undefined })
      return resolved
    },
    load(url, context, next) {
      const loaded = next(url, context)
      if (!isOurs(url) && url.startsWith('file:') && loaded.source !== undefined && loaded.source !== null) {
        const source = typeof loaded.source === 'string' ? loaded.source : Buffer.from(loaded.source as Uint8Array)
        text += source.length
        if (text > MAX_TEXT) throw new Error(`plugins import more than ${MAX_TEXT} bytes of code`)
        sources.set(url, { format: loaded.format ?? 'module', text: source.toString() })
      }
      return loaded
    },
  })
  return { resolutions, sources }
}

/** Whether a URL is of the gateway itself. */
export function isOurs(url: string): boolean {
  return url === root || HOUSE.some(folder => url.startsWith(folder))
}
