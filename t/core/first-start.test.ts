// The secrets of first start: made once, kept closed, the same ever after.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type Config, ConfigError, loadConfig } from '../../core/config.ts'
import { ensureSecrets, lacksKeyring, type Secrets } from '../../core/first-start.ts'

interface Yaml {
  admin?: string
  apisix?: string
}

interface Home {
  folder: string
  data: string
  file(name: string): string
  /** Starts with the data in `data` and `yaml` besides. */
  start(yaml?: Yaml): Secrets
  load(yaml?: Yaml): Config
}

/** Runs `act` with a folder of its own, in which nothing has been started yet. */
async function withHome(act: (home: Home) => void | Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-first-'))
  const data = join(folder, 'data')
  const load = ({ admin = '{}', apisix = '{}' }: Yaml = {}) => {
    const file = join(folder, 'config.yaml')
    writeFileSync(file, `apisix: ${apisix}\ndeployment: {embedded: {path: ${data}}, admin: ${admin}}\n`)
    return loadConfig({ file, env: {} }).config
  }
  const start = (yaml?: Yaml) => ensureSecrets(load(yaml))
  try {
    await act({ folder, data, file: name => join(data, name), load, start })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const modeOf = (path: string) => statSync(path).mode & 0o777

describe('the secrets of first start', () => {
  it('are made where nobody but the owner can read them', () =>
    withHome(({ data, file, start }) => {
      const { adminKeys, keyring, adminKeyFile, created, warnings } = start()
      assert.deepEqual(created, [file('admin.key'), file('keyring')])
      assert.deepEqual([modeOf(data), modeOf(file('admin.key')), modeOf(file('keyring'))], [0o700, 0o600, 0o600])
      assert.equal(adminKeyFile, file('admin.key'))
      assert.deepEqual(readdirSync(data).sort(), ['admin.key', 'keyring'])
      assert.deepEqual(adminKeys, [
        { name: 'admin', key: readFileSync(file('admin.key'), 'utf8').trim(), role: 'admin' },
      ])
      assert.match(adminKeys[0]!.key, /^[\w-]{32}$/)
      assert.match(keyring[0]!, /^[\w-]{32}$/)
      assert.notEqual(adminKeys[0]!.key, keyring[0])
      assert.deepEqual(warnings, [])
    }))

  it('are the same at the next start', () =>
    withHome(({ start }) => {
      const first = start()
      assert.deepEqual(start(), { ...first, created: [] })
    }))

  it('differ between two gateways', () =>
    withHome(one =>
      withHome(other => {
        const [a, b] = [one.start(), other.start()]
        assert.notEqual(a.adminKeys[0]!.key, b.adminKeys[0]!.key)
        assert.notEqual(a.keyring[0], b.keyring[0])
      }),
    ))

  it('are agreed on by processes that start at once', () =>
    withHome(async ({ folder, data, start }) => {
      const file = join(folder, 'race.yaml')
      writeFileSync(file, `deployment: {embedded: {path: ${data}}}`)
      const [config, firstStart] = ['config', 'first-start'].map(name => join(process.cwd(), `core/${name}.ts`))
      const script = `
        import { loadConfig } from '${config}'
        import { ensureSecrets } from '${firstStart}'
        const { config } = loadConfig({ file: '${file}' })
        process.stdout.write('r')
        process.stdin.once('data', () => {
          const { adminKeys, keyring } = ensureSecrets(config)
          console.log(JSON.stringify([adminKeys[0].key, ...keyring]))
          process.exit()
        })`
      const racers = Array.from({ length: 3 }, () => spawn(process.execPath, ['--input-type=module', '-e', script]))
      await Promise.all(racers.map(({ stdout }) => new Promise(ready => stdout.once('readable', ready))))
      for (const { stdin } of racers) stdin.end('go')
      const said = await Promise.all(racers.map(({ stdout }) => text(stdout)))
      const { adminKeys, keyring } = start()
      for (const each of said) assert.equal(each.trim(), `r${JSON.stringify([adminKeys[0]!.key, ...keyring])}`)
      assert.deepEqual(readdirSync(data).sort(), ['admin.key', 'keyring'])
    }))

  it('are not made where they are configured', () =>
    withHome(({ data, start }) => {
      const keyring = ['k'.repeat(32), 'o'.repeat(16)]
      const secrets = start({
        admin: '{admin_key: [{name: a, key: secret}]}',
        apisix: `{data_encryption: {keyring: [${keyring}]}}`,
      })
      assert.deepEqual(secrets.adminKeys, [{ name: 'a', key: 'secret', role: 'admin' }])
      assert.deepEqual(secrets.keyring, keyring)
      assert.equal(secrets.adminKeyFile, undefined)
      assert.ok(!existsSync(data))
    }))

  it('fill in the one key that was left empty', () =>
    withHome(({ start }) => {
      const { adminKeys } = start({ admin: '{admin_key: [{name: v, key: seen, role: viewer}, {name: a}]}' })
      assert.deepEqual(
        adminKeys.map(({ name, role }) => [name, role]),
        [
          ['v', 'viewer'],
          ['a', 'admin'],
        ],
      )
      assert.deepEqual(
        adminKeys.map(({ key }) => key.length),
        [4, 32],
      )
    }))

  it('hold no admin key where none is asked for', () =>
    withHome(({ file, start }) => {
      for (const off of [{ admin: '{admin_key_required: false}' }, { apisix: '{enable_admin: false}' }]) {
        const { adminKeys, adminKeyFile } = start(off)
        assert.deepEqual(adminKeys, [])
        assert.equal(adminKeyFile, undefined)
      }
      assert.ok(!existsSync(file('admin.key')))
    }))

  it('are closed to others with a warning when they stood open', () =>
    withHome(({ file, start }) => {
      const { keyring } = start()
      chmodSync(file('keyring'), 0o644)
      const again = start()
      assert.deepEqual(again.warnings, [`${file('keyring')}: could be read or written by others (mode 644) until now`])
      assert.equal(modeOf(file('keyring')), 0o600)
      assert.deepEqual(again.keyring, keyring)
      assert.deepEqual(start().warnings, [])
    }))

  it('may be several keys in the keyring, the first of which encrypts', () =>
    withHome(({ file, start }) => {
      const [old] = start().keyring
      writeFileSync(file('keyring'), `${'n'.repeat(16)}\n${old}\n`)
      assert.deepEqual(start().keyring, ['n'.repeat(16), old])
    }))

  it('lack a keyring until one is configured or made, and never where nothing is encrypted', () =>
    withHome(({ load, start }) => {
      assert.equal(lacksKeyring(load()), true)
      assert.equal(lacksKeyring(load({ apisix: `{data_encryption: {keyring: [${'k'.repeat(32)}]}}` })), false)
      assert.equal(lacksKeyring(load({ apisix: '{data_encryption: {enable_encrypt_fields: false}}' })), false)
      start()
      assert.equal(lacksKeyring(load()), false)
    }))

  describe('are refused in one line', () => {
    const refused: [what: string, name: string, content: string, why: RegExp][] = [
      ['an empty file', 'admin.key', '\n', /admin\.key: is empty: restore it, or remove it to have a new one made$/],
      ['a key of the wrong length', 'keyring', 'short', /keyring: expected 16 or 32 ASCII characters without spaces$/],
      [
        'a published admin key',
        'admin.key',
        'edd1c9f034335f136f87ad84b625c8f1',
        /admin\.key: is a default that APISIX publishes/,
      ],
      ['a published encryption key', 'keyring', 'qeddd145sfvddff3', /keyring: is a default that APISIX publishes/],
    ]
    for (const [what, name, content, why] of refused) {
      it(what, () =>
        withHome(({ data, file, start }) => {
          mkdirSync(data)
          writeFileSync(file(name), content, { mode: 0o600 })
          assert.throws(start, error => {
            assert.ok(error instanceof ConfigError)
            assert.match(error.message, why)
            assert.ok(content.trim() === '' || !error.message.includes(content))
            return true
          })
          assert.equal(readFileSync(file(name), 'utf8'), content)
        }),
      )
    }

    it('a folder that cannot be made', () =>
      withHome(({ data, start }) => {
        writeFileSync(data, 'a file')
        assert.throws(start, new ConfigError(`${data}: file already exists`))
      }))
  })
})
