// The thread in which main has the user's plugins: imports their files, tells what they are, and asks them for main.
import { parentPort, workerData } from 'node:worker_threads'
import { asError } from '../errors.ts'
import type { Plugin } from '../plugin.ts'
import type { PluginCode } from './code.ts'
import type { Answer, Loaded, Question, ThreadData } from './definitions.ts'
import { importPlugins, PluginCodeError, pluginFiles } from './load.ts'
import { offerSluice, recordCode } from './module-hooks.ts'

const { folders, answered, port } = workerData as ThreadData

offerSluice()
const recorded = recordCode()
try {
  const entries = await pluginFiles(folders)
  const plugins = await importPlugins(entries)
  const code: PluginCode = { entries, ...recorded }
  const byName = new Map(plugins.map(plugin => [plugin.name, plugin]))
  const cell = new Int32Array(answered)
  port.on('message', (question: Question) => {
    port.postMessage(answer(byName.get(question.plugin), question))
    Atomics.store(cell, 0, question.number)
    Atomics.notify(cell, 0)
  })
  const loaded: Loaded = { code, definitions: plugins.map(dataOf) }
  parentPort!.postMessage(loaded)
} catch (error) {
  // Its files are watched all the same: the next save may mend them.
  const code: PluginCode = { entries: [], ...recorded }
  const { message, stack } = asError(error)
  const said = error instanceof PluginCodeError ? message : `plugins could not be loaded: ${stack ?? message}`
  parentPort!.postMessage({ code, refused: said } satisfies Loaded)
}

/** What of a plugin is data, and which functions it has. */
function dataOf({ setup: _, endpoints: __, carriers: ___, check, checkMetadata, credential, ...data }: Plugin) {
  const has = { check, checkMetadata, credential }
  const entries = Object.entries(has).map(([name, own]) => [name, own !== undefined])
  return { ...data, has: Object.fromEntries(entries) as Record<keyof typeof has, boolean> }
}

function answer(plugin: Plugin | undefined, { what, config }: Question): Answer {
  try {
    const value: unknown = plugin?.[what]?.(config)
    if (value === undefined || typeof value === 'string') return { value }
    return { failed: `${what} returned a ${typeof value}` }
  } catch (error) {
    return { failed: asError(error).message }
  }
}
