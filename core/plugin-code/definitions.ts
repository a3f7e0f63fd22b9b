// The user's plugins as main has them: data, and functions that a thread runs, for modules once imported are never freed.
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads'
import type { Plugin } from '../plugin.ts'
import type { PluginCode } from './code.ts'
import { PluginCodeError } from './load.ts'

export interface ThreadData {
  folders: readonly string[]
  /** The number of the question that was answered last. */
  answered: SharedArrayBuffer
  port: MessagePort
}

type Asked = 'check' | 'checkMetadata' | 'credential'

export interface Question {
  number: number
  plugin: string
  what: Asked
  config: unknown
}

export type Answer = { value: string | undefined } | { failed: string }

type PluginData = Omit<Plugin, 'setup' | 'endpoints' | 'carriers' | Asked> & { has: Record<Asked, boolean> }

export type Loaded = { code: PluginCode } & ({ definitions: readonly PluginData[] } | { refused: string })

/** Milliseconds for all files to be imported, and for a plugin to check one config. */
const LOAD_WITHIN_MS = 10_000
const ANSWER_WITHIN_MS = 1_000
/** What plugin files need to be defined is far less. */
const HEAP_MB = 256

export interface Definitions {
  readonly plugins: readonly Plugin[]
  readonly code: PluginCode
  /** Ends the thread. */
  close(): Promise<void>
}

/** The files could not be used; `code` is what was read of them until then. */
export class CodeRefused extends PluginCodeError {
  readonly code: PluginCode | undefined

  constructor(message: string, code?: PluginCode) {
    super(message)
    this.code = code
  }
}

/** Imports the plugin files of `folders` in a new thread. Rejects with CodeRefused. */
export async function openDefinitions(folders: readonly string[]): Promise<Definitions> {
  const answered = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)
  const { port1, port2 } = new MessageChannel()
  const data: ThreadData = { folders, answered, port: port2 }
  const thread = new Worker(new URL('./definitions-thread.ts', import.meta.url), {
    workerData: data,
    transferList: [port2],
    name: 'plugin definitions',
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
  })
  const close = async (): Promise<void> => {
    port1.close()
    await thread.terminate()
  }
  try {
    const loaded = await loading(thread)
    if ('refused' in loaded) throw new CodeRefused(loaded.refused, loaded.code)
    const ask = asking(port1, new Int32Array(answered))
    thread.unref()
    port1.unref()
    return { plugins: loaded.definitions.map(known => asPlugin(known, ask)), code: loaded.code, close }
  } catch (error) {
    await close()
    throw error
  }
}

function loading(thread: Worker): Promise<Loaded> {
  return new Promise((resolve, reject) => {
    const refuse = (why: string) => reject(new CodeRefused(`plugins could not be loaded: ${why}`))
    const timer = setTimeout(() => refuse(`they take longer than ${LOAD_WITHIN_MS} ms`), LOAD_WITHIN_MS)
    thread.once('message', resolve)
    // Later errors are nobody's: what the thread is asked says that there is no answer.
    thread.on('error', (error: Error) => refuse(error.message))
    thread.once('exit', code => {
      clearTimeout(timer)
      refuse(`their thread ended with code ${code}`)
    })
    thread.once('message', () => clearTimeout(timer))
  })
}

type Ask = (plugin: string, what: Asked, config: unknown) => unknown

/**
 * Asks a plugin and waits for the answer without a turn of the loop: whoever validates need not know where a plugin lives. It
 * takes some 30 us. A thread that has once kept silent is not waited for again.
 */
function asking(port: MessagePort, answered: Int32Array): Ask {
  let number = 0
  let silent = false
  return (plugin, what, config) => {
    const unanswered = () =>
      new Error(`plugin ${plugin} did not answer within ${ANSWER_WITHIN_MS} ms: mend it, and reload the plugins`)
    if (silent) throw unanswered()
    port.postMessage({ number: ++number, plugin, what, config } satisfies Question)
    const deadline = performance.now() + ANSWER_WITHIN_MS
    for (let seen = number - 1; seen < number; seen = Atomics.load(answered, 0)) {
      const left = deadline - performance.now()
      if (left <= 0) {
        silent = true
        throw unanswered()
      }
      Atomics.wait(answered, 0, seen, left)
    }
    const { message: answer } = receiveMessageOnPort(port) as { message: Answer } // posted before the number was set
    if ('failed' in answer) throw new Error(answer.failed)
    return answer.value
  }
}

function asPlugin({ has, ...data }: PluginData, ask: Ask): Plugin {
  const { name } = data
  return {
    ...data,
    ...(has.check && { check: (config: unknown) => ask(name, 'check', config) as string | undefined }),
    ...(has.checkMetadata && {
      checkMetadata: (metadata: unknown) => ask(name, 'checkMetadata', metadata) as string | undefined,
    }),
    ...(has.credential && { credential: (config: unknown) => ask(name, 'credential', config) as string }),
    setup() {
      throw new Error('the main thread runs no plugin')
    },
  }
}
