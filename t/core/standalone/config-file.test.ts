// A configuration in a file: read, watched, swapped whole, and the last good one when an edit is bad.
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Logger } from '../../../core/observe/log.ts'
import { ConfigFile, type ConfigFileOptions } from '../../../core/standalone/config-file.ts'
import { fakePlugins } from '../../helpers/admin.ts'
import { until } from '../../helpers/until.ts'

const route = (id: string, uri = '/a') => `  - {id: ${id}, uri: ${uri}, plugins: {}}\n`
const end = '#END\n'

describe('a configuration file', () => {
  let folder: string
  let file: string
  const open: ConfigFile[] = []
  const logged: [object, string][] = []
  const enabled: (readonly string[] | undefined)[] = []
  const log: Logger = {
    debug() {},
    info() {},
    warn: (what, message) => void logged.push([what, message]),
    error: (what, message) => void logged.push([what, message]),
  }

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'sluice-file-'))
    file = join(folder, 'apisix.yaml')
    logged.length = 0
    enabled.length = 0
  })
  afterEach(() => {
    for (const each of open.splice(0)) each.close()
    rmSync(folder, { recursive: true })
  })

  function make(more: Partial<ConfigFileOptions> = {}): ConfigFile {
    const config = new ConfigFile({
      file,
      form: 'yaml',
      env: { HOST: 'a.b' },
      plugins: { known: fakePlugins, enabled: fakePlugins },
      enabled: names => enabled.push(names),
      log,
      ...more,
    })
    open.push(config)
    return config
  }
  async function start(more: Partial<ConfigFileOptions> = {}): Promise<ConfigFile> {
    const config = make(more)
    await config.start()
    return config
  }
  const served = async ({ source }: ConfigFile) =>
    Object.fromEntries((await source.list()).items.map(({ kind, id, value }) => [`${kind}/${id}`, value.uri]))
  /** As editors and deployments do it: a new file takes the place of the old one. */
  const replace = (text: string) => {
    writeFileSync(`${file}.new`, text)
    renameSync(`${file}.new`, file)
  }

  it('is served from the start, the environment in it', async () => {
    writeFileSync(file, `routes:\n  - {id: 1, uri: "/\${{HOST}}", plugins: {}}\n${end}`)
    assert.deepEqual(await served(await start()), { 'routes/1': '/a.b' })
  })

  it('may be JSON, which needs no end', async () => {
    file = join(folder, 'apisix.json')
    writeFileSync(file, JSON.stringify({ routes: [{ id: '1', uri: `/${'${'.concat('{HOST}}')}`, plugins: {} }] }))
    assert.deepEqual(await served(await start({ form: 'json' })), { 'routes/1': '/a.b' })
  })

  it('is served anew when it is replaced, written in place, or behind a link that is turned', async () => {
    writeFileSync(file, `routes:\n${route('1')}${end}`)
    const config = await start()
    replace(`routes:\n${route('2')}${end}`)
    await until(async () => 'routes/2' in (await served(config)), 'what took its place is served')
    writeFileSync(file, `routes:\n${route('3')}${end}`)
    await until(async () => 'routes/3' in (await served(config)), 'what was written into it is served')

    // A ConfigMap of Kubernetes: the file is a link to a file below a link to a folder.
    for (const [name, id] of [
      ['one', '4'],
      ['two', '5'],
    ] as const) {
      mkdirSync(join(folder, name))
      writeFileSync(join(folder, name, 'apisix.yaml'), `routes:\n${route(id)}${end}`)
    }
    symlinkSync('one', join(folder, 'data'))
    rmSync(file)
    symlinkSync('data/apisix.yaml', file)
    await until(async () => 'routes/4' in (await served(config)), 'what the link leads to is served')
    symlinkSync('two', join(folder, 'next'))
    renameSync(join(folder, 'next'), join(folder, 'data'))
    await until(async () => 'routes/5' in (await served(config)), 'where the link has been turned to is served')
  })

  it('changes nothing when it is bad as a whole, and says on which line', async () => {
    writeFileSync(file, `routes:\n${route('1')}${end}`)
    const config = await start()
    for (const [text, fault] of [
      [`routes:\n${route('2')}  - [\n${end}`, /apisix\.yaml:\d: /],
      [`routes:\n${route('2')}`, /apisix\.yaml: does not end with the line #END$/],
      [`routes:\n${route('2')}#END of it\n`, /does not end/],
      [`a: 1\nroutes: {a: 1}\n${end}`, /apisix\.yaml:2: routes: routes must be an array$/],
      [`routes:\n  - {id: 2, uri: "\${{NOBODY}}"}\n${end}`, /apisix\.yaml:2: can't find environment variable NOBODY$/],
      [`- 1\n${end}`, /expected collections$/],
    ] as const) {
      replace(text)
      await until(() => fault.test(config.status.fault ?? ''), `${text} is refused: ${config.status.fault}`)
      assert.deepEqual(await served(config), { 'routes/1': '/a' })
      assert.deepEqual(logged.at(-1)?.[0], { fault: config.status.fault })
    }
    rmSync(file)
    await until(() => /cannot be read: ENOENT$/.test(config.status.fault ?? ''), 'its absence is noticed')
    replace(`routes:\n${route('2')}${end}`)
    await until(() => config.status.fault === undefined, 'it is good again')
    assert.deepEqual(await served(config), { 'routes/2': '/a' })
  })

  it('is served but for its bad entries, which stay what they were, and says on which lines', async () => {
    writeFileSync(file, `routes:\n${route('1', '/one')}${route('2', '/two')}${end}`)
    const config = await start()
    const bad = '  - {id: 1, uri: 5, plugins: {}}\n  - {id: 3, uri: /x, plugins: {nobody: {}}}\n'
    replace(`routes:\n${route('2', '/new')}${bad}${end}`)
    await until(() => config.status.rejected.length === 2, 'the bad ones are known')
    assert.deepEqual(await served(config), { 'routes/2': '/new', 'routes/1': '/one' })
    const rejected = [
      {
        where: `${file}:3: routes[1]`,
        id: '1',
        reason: 'invalid configuration: property "uri" validation failed: wrong type: expected string, got number',
        servesOlder: true,
      },
      { where: `${file}:4: routes[2]`, id: '3', reason: 'unknown plugin [nobody]', servesOlder: false },
    ]
    assert.deepEqual(config.status.rejected, rejected)
    assert.deepEqual(
      logged.map(([what]) => what),
      rejected,
    )
    replace(`routes:\n${route('2', '/new')}${end}`)
    await until(() => config.status.rejected.length === 0, 'nothing is wrong any more')
    assert.deepEqual(await served(config), { 'routes/2': '/new' })
  })

  it('keeps what does not change as it is', async () => {
    writeFileSync(file, `routes:\n${route('1')}${route('2')}${end}`)
    const config = await start()
    const [before] = (await config.source.list()).items
    replace(`# a remark\nroutes:\n${route('1')}${route('2', '/b')}${end}`)
    await until(() => config.source.revision === 2, 'it is read again')
    assert.equal((await config.source.list()).items[0], before)
  })

  it('warns of what is no collection, and tells which plugins it enables', async () => {
    writeFileSync(file, `route:\n${route('1')}routes:\nplugins: [{name: late}]\n${end}`)
    const config = await start()
    assert.deepEqual(logged, [[{ at: `${file}:1: route` }, 'this has no effect: it is no collection']])
    assert.deepEqual(enabled, [['late']])
    replace(`plugins: [{name: late}]\nroutes:\n${route('1')}${end}`)
    await until(() => config.source.revision === 1, 'it is read again')
    replace(`routes:\n${route('1')}${end}`)
    await until(() => enabled.length === 2, 'it says nothing of plugins any more')
    assert.deepEqual(enabled, [['late'], undefined])
  })

  it('must be good at the start', async () => {
    await assert.rejects(make().start(), { message: `${file}: cannot be read: ENOENT` })
    writeFileSync(file, `routes: [\n${end}`)
    await assert.rejects(make().start(), { name: 'ConfigError' })
    writeFileSync(file, Buffer.concat([Buffer.from([0xff]), Buffer.from(end)]))
    await assert.rejects(make().start(), { message: `${file}: is not UTF-8 text` })
  })
})
