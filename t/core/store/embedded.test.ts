// The embedded store: the contract, and what is its own: the file, the lock, the format, the limits, sudden death.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type Logger, silent } from '../../../core/observe/log.ts'
import { type EmbeddedOptions, openEmbedded } from '../../../core/store/embedded.ts'
import { type Change, Conflict, type Revision, type Store, StoreUnavailable } from '../../../core/store/store.ts'
import { type StoreBench, storeContract } from './contract.ts'
import { killRounds } from './kill.ts'

describe('the embedded store', () => {
  describe('as a store', () => {
    storeContract(async (): Promise<StoreBench> => {
      const path = mkdtempSync(join(tmpdir(), 'sluice-store-'))
      let clock = Date.now()
      const open = () => openEmbedded({ path, changesKept: 200, now: () => clock, log: silent })
      const first = open()
      let store = first
      return {
        store: first,
        async reopen() {
          await store.close()
          store = open()
          return store
        },
        async compact() {
          await Promise.all(Array.from({ length: 200 }, () => store.write([{ kind: 'protos', id: 'new', value: {} }])))
        },
        async pass(seconds) {
          clock += seconds * 1000
        },
        async end() {
          await store.close()
          rmSync(path, { recursive: true })
        },
      }
    })
  })

  describe('in its folder', () => {
    let folder: string
    let path: string
    let opened: Store[]
    let children: ChildProcess[]
    beforeEach(() => {
      folder = mkdtempSync(join(tmpdir(), 'sluice-store-'))
      path = join(folder, 'data')
      opened = []
      children = []
    })
    afterEach(async () => {
      for (const store of opened) await store.close()
      for (const child of children) {
        child.kill('SIGKILL')
        if (child.exitCode === null && child.signalCode === null) await once(child, 'close')
      }
      rmSync(folder, { recursive: true })
    })

    const open = (options: Partial<EmbeddedOptions> = {}): Store => {
      const store = openEmbedded({ path, log: silent, ...options })
      opened.push(store)
      return store
    }
    /** Runs code that finds `open`, `path` and `write(text)` in a process of its own; `said` is its standard output. */
    const inAnotherProcess = (code: string, shell = 'exec "$0" "$@"') => {
      const program = `
        import { openEmbedded } from ${JSON.stringify(new URL('../../../core/store/embedded.ts', import.meta.url))}
        const path = ${JSON.stringify(path)}
        const open = () => openEmbedded({ path, log: { debug() {}, info() {}, warn() {}, error() {} } })
        const write = text => process.stdout.write(text + '\\n')
        ${code}`
      const child = spawn('sh', ['-c', shell, process.execPath, '--input-type=module', '-e', program], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      children.push(child)
      let text = ''
      child.stdout.setEncoding('utf8').on('data', (more: string) => {
        text += more
      })
      return {
        child,
        line: once(child.stdout, 'data').then(() => text.trim()),
        end: once(child, 'close').then(([code]) => ({ code: code as number | null, said: text.trim() })),
      }
    }
    const tryToOpen = "try { await open().close(); write('opened') } catch (error) { write(error.message) }"

    it('makes folder and files for nobody but its owner', async () => {
      const store = open()
      await store.write([{ kind: 'routes', id: '1', value: {} }])
      assert.equal(statSync(path).mode & 0o777, 0o700)
      const files = readdirSync(path)
      assert.deepEqual(files.toSorted(), ['sluice.db', 'sluice.db-wal'])
      for (const file of files) assert.equal(statSync(join(path, file)).mode & 0o777, 0o600, file)
    })

    it('leaves one file behind when it is closed, and opens a folder that is there', async () => {
      mkdirSync(path)
      const store = open()
      await store.write([{ kind: 'routes', id: '1', value: {} }])
      await store.close()
      assert.deepEqual(readdirSync(path), ['sluice.db'])
    })

    it('is refused to a second process while it is open, and to a second opener in the same one', async () => {
      const store = open()
      const inUse = `the store in ${path} is in use by another process`
      assert.equal((await inAnotherProcess(tryToOpen).end).said, inUse)
      assert.throws(() => open(), { message: inUse })
      // The failed attempt in this process has not taken the lock away from the store that is open.
      assert.equal((await inAnotherProcess(tryToOpen).end).said, inUse)
      await store.write([{ kind: 'routes', id: '1', value: {} }])
      await store.close()
      assert.equal((await inAnotherProcess(tryToOpen).end).said, 'opened')
    })

    it('can be opened as soon as the process that had it was killed', async () => {
      const { child, line, end } = inAnotherProcess(`
        const store = open()
        await store.write([{ kind: 'routes', id: '1', value: { by: 'the other process' } }])
        write('open')
        setInterval(() => {}, 1000)`)
      assert.equal(await line, 'open')
      assert.throws(() => open(), { message: `the store in ${path} is in use by another process` })
      child.kill('SIGKILL')
      await end
      assert.deepEqual((await open().get('routes', '1'))?.value, { by: 'the other process' })
    })

    it('does not keep a process alive', async () => {
      const { end } = inAnotherProcess("open(); write('open')")
      assert.deepEqual(await end, { code: 0, said: 'open' })
    })

    it('refuses what is not its own database, with the reason, and leaves every byte of it', async () => {
      const file = join(path, 'sluice.db')
      const sqlite = (sql: string) => {
        const db = new DatabaseSync(file)
        db.exec(sql)
        db.close()
      }
      const cases: [reason: RegExp, prepare: () => Promise<void> | void][] = [
        [/cannot be opened: sluice\.db is not a database/, () => writeFileSync(file, 'routes:\n'.repeat(2000))],
        [/cannot be opened: sluice\.db is not a database/, () => writeFileSync(file, 'short')],
        [
          /is a database of another program/,
          () => sqlite('create table item (name text); insert into item values (1)'),
        ],
        [
          /was written by another version of Sluice \(its format is 2, this version knows 1\)/,
          async () => {
            await openEmbedded({ path, log: silent }).close()
            sqlite('pragma user_version = 2')
          },
        ],
      ]
      for (const [reason, prepare] of cases) {
        rmSync(path, { recursive: true, force: true })
        mkdirSync(path)
        await prepare()
        const before = readFileSync(file)
        for (const _ of ['first', 'second']) {
          assert.throws(
            () => open(),
            (error: Error) => error.message.startsWith(`the store in ${path} `) && reason.test(error.message),
          )
        }
        assert.deepEqual(readFileSync(file), before)
        assert.deepEqual(readdirSync(path), ['sluice.db'])
      }
    })

    it('says what is wrong when its tables or its folder cannot be used', async () => {
      await open().close()
      const file = join(path, 'sluice.db')
      const db = new DatabaseSync(file)
      db.exec('drop table change')
      db.close()
      assert.throws(() => open(), { message: `the store in ${path} cannot be read: no such table: change` })
      new DatabaseSync(file).exec('begin exclusive; rollback')
      const notAFolder = join(file, 'data')
      assert.throws(
        () => open({ path: notAFolder }),
        /^Error: the store in .*sluice\.db\/data cannot be opened: ENOTDIR/,
      )
    })

    it('is made anew where the first start died before it had a table', async () => {
      mkdirSync(path)
      writeFileSync(join(path, 'sluice.db'), '')
      await open().write([{ kind: 'routes', id: '1', value: {} }])
      for (const store of opened) await store.close()
      rmSync(join(path, 'sluice.db'))
      const db = new DatabaseSync(join(path, 'sluice.db'))
      db.exec('pragma journal_mode = wal')
      db.close()
      assert.deepEqual(await open().list(), { items: [], revision: 0 })
    })

    it('counts the revisions of writes without gaps and gives a write that changes nothing the last one', async () => {
      const store = open()
      const write = (value: object | null) => store.write([{ kind: 'routes', id: '1', value: value as null }])
      assert.deepEqual([await write({}), await write({}), await write(null), await write(null)], [1, 2, 3, 3])
      assert.equal((await store.list()).revision, 3)
    })

    it('replays as many revisions as it was told to keep, and not one more, also after a restart', async () => {
      const store = open({ changesKept: 5 })
      for (let n = 1; n <= 9; n++) await store.write([put(n), put(n + 100)])
      await store.close()
      for (const changesKept of [5, 50]) {
        const again = open({ changesKept })
        assert.deepEqual(await replay(again, 4), [5, 6, 7, 8, 9])
        assert.deepEqual(await replay(again, 8), [9])
        await assert.rejects(replay(again, 3), { message: 'revision 3 has been lost to compaction' })
        await assert.rejects(replay(again, 10), { message: 'revision 10 is in the future: the last one is 9' })
        await again.close()
      }
    })

    it('replays thousands of revisions in order while more are written', async () => {
      const store = open()
      await Promise.all(Array.from({ length: 2000 }, (_, n) => store.write([put(n % 10)])))
      const seen: Revision[] = []
      let more: Promise<Revision>[] = []
      await new Promise<void>((resolve, reject) => {
        store.watch(
          0,
          changes => {
            seen.push(changes[0]!.revision)
            if (seen.length === 300) more = Array.from({ length: 20 }, (_, n) => store.write([put(n)]))
            if (seen.length === 2020) resolve()
          },
          reject,
        )
      })
      assert.deepEqual(
        await Promise.all(more),
        Array.from({ length: 20 }, (_, n) => 2001 + n),
      )
      assert.deepEqual(
        seen,
        Array.from({ length: 2020 }, (_, n) => n + 1),
      )
    })

    it('gives each of the writes that wait together its own revision or conflict', async () => {
      const store = open()
      const free = (id: number) => [{ kind: 'routes' as const, id: String(id), modRevision: 0 }]
      const results = await Promise.allSettled([
        store.write([put(1)], free(1)),
        store.write([put(1)], free(1)),
        store.write([put(2)], [{ kind: 'routes', id: '1', modRevision: 1 }]),
        store.write([put(3), put(4)], free(2)),
        store.write([put(5)]),
      ])
      assert.deepEqual(
        results.map(result => (result.status === 'fulfilled' ? result.value : result.reason.constructor)),
        [1, Conflict, 2, Conflict, 3],
      )
      assert.deepEqual(await replay(store, 0), [1, 2, 3])
    })

    it('finishes the writes that were called before it is closed', async () => {
      const store = open()
      const written = store.write([put(1)])
      await store.close()
      assert.equal(await written, 1)
      assert.ok(await open().get('routes', '1'))
    })

    it('undoes a write that fails half way, alone, and goes on working', async () => {
      const store = open()
      const bad = { kind: 'routes' as const, id: undefined as never, value: {} }
      const [before, failed, after] = await Promise.allSettled([
        store.write([put(1)]),
        store.write([put(2), bad]),
        store.write([put(3)]),
      ])
      assert.deepEqual(
        [before, after].map(result => result?.status === 'fulfilled' && result.value),
        [1, 2],
      )
      const error: unknown = failed?.status === 'rejected' && failed.reason
      assert.ok(error instanceof StoreUnavailable && error.outcome === 'not_written')
      assert.deepEqual(
        (await store.list()).items.map(({ id }) => id),
        ['1', '3'],
      )
    })

    it('has removed what expired while it was closed before anybody can look', async () => {
      const store = open({ now: () => 1000 })
      await store.write([
        { ...put(1), ttlSeconds: 0.5 },
        { ...put(2), ttlSeconds: 60 },
      ])
      await store.close()
      const { items, revision } = await open({ now: () => 1500 }).list()
      assert.deepEqual([items.map(({ id }) => id), revision], [['2'], 2])
    })

    it('logs what a listener throws', async () => {
      const logged: object[] = []
      const log: Logger = { ...silent, error: fields => logged.push(fields) }
      const store = open({ log })
      const failure = new Error('a listener that throws')
      store.watch(
        0,
        () => {
          throw failure
        },
        assert.ifError,
      )
      await store.write([put(1)])
      assert.deepEqual(logged, [{ err: failure }])
    })

    it('refuses a write for which there is no room, alone, and goes on working', async () => {
      // Files of this process cannot grow beyond a megabyte, which is how a full disk looks from inside.
      const { end } = inAnotherProcess(
        `
        const store = open()
        const put = (id, size) => store.write([{ kind: 'routes', id, value: { pad: 'x'.repeat(size) } }])
        const results = await Promise.allSettled([put('a', 10), put('large', 4e6), put('b', 10)])
        for (const { value, reason } of results) write(value ?? [reason.name, reason.outcome, reason.message].join(' '))
        write(await put('c', 10))
        write((await store.list()).items.map(({ id }) => id))`,
        'ulimit -f 1024; exec "$0" "$@"',
      )
      const { code, said } = await end
      const refused = `StoreUnavailable not_written the store in ${path} failed: disk I/O error`
      assert.deepEqual([code, said.split('\n')], [0, ['1', refused, '2', '3', 'a,b,c']])
      const after = open()
      assert.deepEqual(
        (await after.list()).items.map(({ id }) => id),
        ['a', 'b', 'c'],
      )
      assert.equal(await after.write([put(1)]), 4)
    })
  })

  it('loses no acknowledged write, tears none and opens every time when its process is killed', async () => {
    const seed = 1 + Math.floor(Math.random() * 1e9)
    const { acknowledged, unreported: _, diedOpening: __, ...faults } = await killRounds(5, seed)
    const none = { rounds: 5, lost: 0, torn: 0, backwards: 0, wrongLogs: 0, damaged: 0, failedOpens: 0 }
    assert.deepEqual(faults, none, `seed ${seed}`)
    assert.ok(acknowledged > 0)
  })
})

function put(id: number) {
  return { kind: 'routes' as const, id: String(id), value: {} }
}

/** The revisions that a watch replays, up to the store's last one. */
async function replay(store: Store, since: Revision): Promise<Revision[]> {
  const { revision } = await store.list()
  const seen: Revision[] = []
  return new Promise((resolve, reject) => {
    const stop = store.watch(
      since,
      (changes: readonly Change[]) => {
        seen.push(changes[0]!.revision)
        if (changes[0]!.revision !== revision) return
        stop()
        resolve(seen)
      },
      reject,
    )
  })
}
