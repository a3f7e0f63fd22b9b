// Configs as plugins get them: whatever writes them out, their secrets are not in it, and whatever uses them has them.
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { format, inspect, isDeepStrictEqual } from 'node:util'
import { openLog } from '../../../core/observe/log.ts'
import { plugin } from '../../../core/plugin.ts'
import { veiled } from '../../../core/secrets/veiled.ts'
import { startGateway } from '../../helpers/gateway.ts'

const spec = {
  name: 'careless',
  priority: 1,
  version: 1,
  schema: { type: 'object' },
  metadata: { type: 'object' },
  encrypt: ['key', 'auth.header', 'instances.password', 'list'],
  setup: () => ({}),
} as const
const careless = plugin(spec)
const written = () => ({
  key: 'S3CRET-1',
  name: 'n',
  auth: { header: { Authorization: 'S3CRET-2', more: { deep: 'S3CRET-3' } }, kind: 'k' },
  instances: [{ password: 'S3CRET-4', host: 'h' }],
  list: ['S3CRET-5'],
})

describe('the config of a plugin', () => {
  it('shows no secret in JSON, in inspect, in messages and in the error log, whole or in parts', () => {
    const config = veiled(careless, written())
    const folder = mkdtempSync(join(tmpdir(), 'sluice-veiled-'))
    const log = openLog('debug', join(folder, 'log'))
    for (const part of [
      config,
      config.auth,
      config.auth.header,
      config.auth.header.more,
      config.instances,
      config.list,
    ]) {
      log.debug({ part, nested: { part } }, 'careless')
      const shown = [
        JSON.stringify(part),
        JSON.stringify({ part }),
        inspect(part, { depth: 9 }),
        format('%o %j', part, part),
      ]
      for (const text of shown) assert.doesNotMatch(text, /S3CRET/)
    }
    assert.doesNotMatch(readFileSync(join(folder, 'log'), 'utf8'), /S3CRET/)
    rmSync(folder, { recursive: true })
    const { name, auth, instances } = JSON.parse(JSON.stringify(config)) as ReturnType<typeof written>
    assert.deepEqual([name, auth.kind, instances[0]!.host, auth.header.Authorization], ['n', 'k', 'h', '***'])
  })

  it('is what it was to those who use it', () => {
    const config = veiled(careless, written())
    assert.equal(isDeepStrictEqual(config, written()), true)
    assert.deepEqual(structuredClone(config), written())
    assert.deepEqual(Object.entries(config.auth.header)[0], ['Authorization', 'S3CRET-2'])
    assert.equal(JSON.stringify({ ...config.auth.header, more: 1 }), '{"Authorization":"S3CRET-2","more":1}')
    assert.deepEqual(veiled(careless, config), written())
  })

  it('is so in setup, with the metadata and with what a consumer is recognised by', async () => {
    const seen: unknown[] = []
    const gateway = await startGateway({
      plugins: [
        plugin({
          ...spec,
          setup(config, { metadata }) {
            seen.push(config, metadata)
            return { access: ctx => void seen.push(ctx.consumer) }
          },
        }),
      ],
      resources: {
        routes: {
          1: { uri: '/*', plugins: { careless: written(), 'key-auth': {} }, upstream: { nodes: { '127.0.0.1:1': 1 } } },
        },
        consumers: { jack: { username: 'jack', plugins: { 'key-auth': { key: 'S3CRET-6' } } } },
        plugin_metadata: { careless: { key: 'S3CRET-7' } },
      },
    })
    await (await fetch(gateway.url, { headers: { apikey: 'S3CRET-6' } })).text()
    assert.equal(seen.length, 3)
    for (const each of seen) {
      assert.match(JSON.stringify(each), /\*\*\*/)
      assert.doesNotMatch(JSON.stringify(each) + inspect(each, { depth: 9 }), /S3CRET/)
    }
    await gateway.close()
  })
})
