// Who may import whom, and that nobody imports in a circle: the table of the house, as a test.
import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'

const files = globSync('{core,plugins,admin,t}/**/*.ts')

/** Files a file imports, types included, as paths from the root. */
function imports(file: string): string[] {
  const source = readFileSync(file, 'utf8')
  return [...source.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map(([, path]) =>
    normalize(join(dirname(file), path!)),
  )
}

/** The same without `import type`, which leaves no trace when the program runs. */
function runtimeImports(file: string): string[] {
  const source = readFileSync(file, 'utf8').replace(/import type [^;]*? from '[^']+'/gs, '')
  return [...source.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map(([, path]) =>
    normalize(join(dirname(file), path!)),
  )
}

const ROOTS = ['core/main.ts', 'core/worker.ts', 'core/in-process.ts']
const OFFERED_TO_PLUGINS = oneOf(
  'plugin|endpoints|context|reply|request|body|errors|holds|schema|patterns/.*|body-template|content-encoding|header-change',
  'llm/.*',
  'javascript/(config-function|source)',
  'budgets/.*|ledger/.*|limits/.*',
  'observe/.*',
  'router/(vars|expr|template)',
  'resource/upstream-checks',
  'proxy/(transport|node-pool|probed-endpoint|health/checks|balancer/.*)',
)
const OFFERED_TO_LLM = oneOf(
  'llm/.*',
  'context|errors|reply|schema|json-schema|request|body|holds',
  'observe/(metrics|credentials|client-values|request-families|trace)',
  'proxy/transport',
)

/** Files of core, as expressions without their ending. */
function oneOf(...names: string[]): RegExp {
  return new RegExp(`^core/(${names.join('|')})\\.ts$`)
}

const rules: { who: RegExp; may: (target: string, file: string) => boolean; said: string }[] = [
  { who: /^core\/(main|worker|in-process)\.ts$/, may: () => true, said: 'the roots may import everything' },
  { who: /^core\/koa\.ts$/, may: target => target === 'core/in-process.ts', said: 'the middleware is made of a root' },
  {
    who: /^core\/llm\//,
    may: target => OFFERED_TO_LLM.test(target),
    said: 'core/llm knows only itself, a few core types and the transport',
  },
  {
    who: /^core\//,
    may: target => target.startsWith('core/') && !ROOTS.includes(target),
    said: 'core imports core without its roots, never plugins or admin',
  },
  {
    who: /^plugins\/index\.ts$/,
    may: target => target.startsWith('plugins/') || target === 'core/plugin.ts',
    said: 'the list of plugins imports plugins',
  },
  {
    who: /^plugins\//,
    may: (target, file) => OFFERED_TO_PLUGINS.test(target) || inSameFolder(target, file),
    said: 'a plugin imports what core offers to plugins, and no other plugin',
  },
  {
    who: /^admin\//,
    may: target => /^(admin|core)\//.test(target) && !ROOTS.includes(target),
    said: 'admin imports admin and core',
  },
  { who: /^t\//, may: () => true, said: 'tests may import everything' },
]

/** A plugin of several files is a folder of its own. */
function inSameFolder(target: string, file: string): boolean {
  return file.split('/').length > 2 && dirname(target) === dirname(file)
}

describe('the house', () => {
  it('imports only in the allowed directions', () => {
    const broken = files.flatMap(file => {
      const rule = rules.find(({ who }) => who.test(file))!
      return imports(file)
        .filter(target => !rule.may(target, file))
        .map(target => `${file} imports ${target}: ${rule.said}`)
    })
    assert.deepEqual(broken, [])
  })

  it('imports no module in a circle', () => {
    const state = new Map<string, 'open' | 'done'>()
    const circles: string[] = []
    const visit = (file: string, path: readonly string[]): void => {
      if (state.get(file) === 'done') return
      if (state.get(file) === 'open') {
        circles.push([...path.slice(path.indexOf(file)), file].join(' -> '))
        return
      }
      state.set(file, 'open')
      for (const target of runtimeImports(file)) visit(target, [...path, file])
      state.set(file, 'done')
    }
    for (const file of files) visit(file, [])
    assert.deepEqual(circles, [])
  })

  it('begins every file with one sentence that says what it is', () => {
    const silent = files.filter(file => !/^(#!.*\n)?\/\/ \S.*[.,:;)]/.test(readFileSync(file, 'utf8')))
    assert.deepEqual(silent, [])
  })

  it('reads the environment only in the configuration', () => {
    const readers = files.filter(
      file => /^(core|plugins|admin)\//.test(file) && /process\.env\b/.test(readFileSync(file, 'utf8')),
    )
    assert.deepEqual(
      readers.filter(file => !file.startsWith('core/config')),
      [],
    )
  })

  it('mirrors the tree in its tests', () => {
    const stray = files.filter(file => {
      if (!file.endsWith('.test.ts') || !/^t\/(core|plugins|admin)\//.test(file)) return false
      const subject = file.slice(2).replace(/\.test\.ts$/, '')
      return !existsSync(`${subject}.ts`) && !existsSync(`${subject}.js`)
    })
    assert.deepEqual(stray, [])
  })
})
