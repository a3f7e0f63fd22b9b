// What routes and consumers share, through the admin API of a process: each change is served by every worker, on either store.
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type EtcdCluster, startEtcd } from './helpers/etcd.ts'
import { configFolder, type GatewayProcess, startProcess } from './helpers/process.ts'
import { until } from './helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'
import { type FakeVault, startVault } from './helpers/vault.ts'

type Headers = Readonly<Record<string, string>>

for (const storeName of ['embedded', 'etcd'] as const) {
  describe(`resources on ${storeName}`, function () {
    this.timeout(180_000)
    let cluster: EtcdCluster | undefined
    let upstream: ScriptedUpstream
    let vault: FakeVault
    let gateway: GatewayProcess

    before(async () => {
      if (storeName === 'etcd') cluster = await startEtcd()
      upstream = await startUpstream()
      vault = await startVault()
      const deployment = cluster && {
        deployment: `role_traditional: {config_provider: etcd}\n  etcd: {host: ${JSON.stringify(cluster.hosts)}}`,
      }
      const place = configFolder('', { nginx_config: 'worker_processes: 2', ...deployment })
      gateway = await startProcess(place, undefined, { SLUICE_TEST_SECRET: 'a-key-in-the-environment' })
    })
    after(async () => {
      await gateway?.dispose()
      await vault?.close()
      await upstream?.close()
      await cluster?.close()
    })

    async function admin(method: string, path: string, body?: unknown): Promise<void> {
      const answer = await gateway.admin(method, path, body)
      assert.ok([200, 201].includes(answer.status), `${method} ${path}: ${JSON.stringify(answer.body)}`)
    }
    const put = (path: string, body: unknown) => admin('PUT', path, body)
    const rewriting = (value: string) => ({ 'proxy-rewrite': { headers: { 'x-set-by': value } } })

    /** Status, who set a field, and who asks by which credential, as the upstream sees it. */
    async function seen(headers: Headers = {}): Promise<string> {
      const { length } = upstream.received
      const { status } = await fetch(`${gateway.urls.requests}/a`, { headers })
      const told = upstream.received[length]?.headers ?? {}
      return [status, told['x-set-by'], told['x-consumer-username'], told['x-credential-identifier']]
        .join(' ')
        .trimEnd()
    }
    /** Many times in a row, so that every worker has been asked. */
    async function isSeen(expected: string, headers: Headers = {}): Promise<void> {
      let last = ''
      const held = async () => {
        for (let at = 0; at < 10; at++) {
          last = await seen({ ...headers, connection: 'close' })
          if (last !== expected) return false
        }
        return true
      }
      await until(held, expected, 20_000).catch(() => assert.equal(last, expected))
    }

    it('that routes and consumers share are served as they are now: made, edited, deleted, made again', async () => {
      const nodes = { [`127.0.0.1:${upstream.port}`]: 1 }
      await put('/plugin_configs/p', { plugins: rewriting('config one') })
      await put('/routes/1', { uri: '/a', plugin_config_id: 'p', upstream: { nodes }, plugins: { 'key-auth': {} } })
      await put('/consumer_groups/g', { plugins: {} })
      await put('/consumers', { username: 'jack', group_id: 'g' })
      await put('/consumers/jack/credentials/c', { plugins: { 'key-auth': { key: 'k1' } } })
      await isSeen('200 config one jack c', { apikey: 'k1' })
      await put('/plugin_configs/p', { plugins: rewriting('config two') })
      await isSeen('200 config two jack c', { apikey: 'k1' })
      await put('/consumer_groups/g', { plugins: rewriting('group') })
      // proxy-rewrite works in rewrite, where the consumer's own does not replace the route's any more.
      await admin('DELETE', '/plugin_configs/p?force=true')
      await isSeen('503', { apikey: 'k1' })
      await put('/plugin_configs/p', { plugins: {} })
      await isSeen('200 group jack c', { apikey: 'k1' })
      await admin('DELETE', '/consumer_groups/g?force=true')
      await isSeen('503', { apikey: 'k1' })
      await put('/consumer_groups/g', { plugins: {} })
      await isSeen('200  jack c', { apikey: 'k1' })
      await put('/consumers/jack/credentials/c', { plugins: { 'key-auth': { key: 'k2' } } })
      await isSeen('401', { apikey: 'k1' })
      await isSeen('200  jack c', { apikey: 'k2' })
      await admin('DELETE', '/consumers/jack')
      await isSeen('401', { apikey: 'k2' })
      await put('/consumers', { username: 'jack' })
      await isSeen('401', { apikey: 'k2' })
    })

    it('that are secrets elsewhere are used, shown as they were written, and named while they are not known', async () => {
      await put('/consumers', { username: 'jill' })
      const credential = (key: string) => put('/consumers/jill/credentials/c', { plugins: { 'key-auth': { key } } })
      await credential('$env://SLUICE_TEST_SECRET')
      await isSeen('200  jill c', { apikey: 'a-key-in-the-environment' })
      await credential('$secret://vault/main/jill/key')
      await isSeen('401', { apikey: 'a-key-in-the-environment' })
      await isSeen('401', { apikey: '$secret://vault/main/jill/key' })
      const status = async () => await (await fetch(`${gateway.urls.control}/v1/config/status`)).text()
      assert.match(await status(), /what plugins\.key-auth\.key refers to is not known/)
      vault.secrets.set('kv/jill', { key: 'a-key-in-the-vault' })
      await put('/secrets/vault/main', { uri: vault.uri, prefix: 'kv', token: vault.token })
      await isSeen('200  jill c', { apikey: 'a-key-in-the-vault' })
      assert.doesNotMatch(await status(), /is not known/)
      const shown = JSON.stringify((await gateway.admin('GET', '/consumers/jill/credentials/c')).body)
      assert.ok(shown.includes('$secret://vault/main/jill/key'))
      const log = readFileSync(join(gateway.folder, 'error.log'), 'utf8')
      for (const text of [await status(), shown, log, gateway.output.stdout, gateway.output.stderr]) {
        assert.ok(!/a-key-in-the/.test(text), text)
      }
    })

    it('that are metadata reach the plugin in every worker, from one edit to the next', async () => {
      const nodes = { [`127.0.0.1:${upstream.port}`]: 1 }
      const file = join(gateway.folder, 'access.log')
      const lines = () => (existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n') : [])
      const format = (value: string) => put('/plugin_metadata/file-logger', { path: file, log_format: { by: value } })
      await format('one')
      await put('/routes/2', { uri: '/logged', plugins: { 'file-logger': {} }, upstream: { nodes } })
      for (const value of ['one', 'two', 'three']) {
        await format(value)
        const ofEach = async () => {
          await fetch(`${gateway.urls.requests}/logged`, { headers: { connection: 'close' } })
          const last = lines().slice(-10)
          return last.length === 10 && last.every(line => line.includes(`"by":"${value}"`))
        }
        await until(ofEach, `the lines have format ${value}`, 20_000)
      }
    })
  })
}
