// Kills a process that writes into the embedded store, again and again, and looks at what is left each time.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { silent } from '../../../core/observe/log.ts'
import { openEmbedded } from '../../../core/store/embedded.ts'
import type { Change, Item, Revision, Store, Write } from '../../../core/store/store.ts'
import { randomness } from '../../helpers/randomness.ts'

export const writers = 8

export interface KillReport {
  rounds: number
  /** Writes that the child had reported as done before it died. */
  acknowledged: number
  /** Writes found whole without a report: the child died between the two. */
  unreported: number
  /** Acknowledged writes that are not there. */
  lost: number
  /** Times a writer's items were the result of no number of whole writes. */
  torn: number
  /** Times a revision was lower than one known before, or was given twice. */
  backwards: number
  /** Times the log of changes did not lead from the last list to this one. */
  wrongLogs: number
  /** Times SQLite's integrity check found something. */
  damaged: number
  failedOpens: number
  /** Rounds in which the child died before it had opened the store. */
  diedOpening: number
}

/** The n-th write of a writer, who has keys of its own: single and several keys, puts and deletes, small and large. */
export function nthWrite(writer: number, n: number): readonly Write[] {
  const id = (of: number) => `w${writer}-${n % of}`
  const value = { n, pad: 'x'.repeat((n * 37) % 3000) }
  if (n % 3 === 0) {
    return (['routes', 'services', 'upstreams'] as const).map(kind => ({ kind, id: id(7), value }))
  }
  if (n % 7 === 5) {
    return [
      { kind: 'routes', id: id(5), value: null },
      { kind: 'consumers', id: id(1), value },
    ]
  }
  return [{ kind: 'routes', id: id(11), value }]
}

/**
 * Runs `rounds` rounds on one store: a child writes with several concurrent writers, dies by SIGKILL at a moment that
 * follows from `seed`, and the store is opened and compared with what the child had acknowledged.
 */
export async function killRounds(rounds: number, seed: number): Promise<KillReport> {
  const path = mkdtempSync(join(tmpdir(), 'sluice-kill-'))
  const random = randomness(seed)
  const report: KillReport = {
    rounds,
    acknowledged: 0,
    unreported: 0,
    lost: 0,
    torn: 0,
    backwards: 0,
    wrongLogs: 0,
    damaged: 0,
    failedOpens: 0,
    diedOpening: 0,
  }
  const progress = Array.from({ length: writers }, (): Progress => ({ n: 0, items: new Map() }))
  let before = { items: [] as readonly Item[], revision: 0 }
  try {
    for (let round = 0; round < rounds; round++) {
      const { opened, acknowledged } = await writeAndDie(path, random, progress)
      if (!opened) report.diedOpening++
      report.acknowledged += acknowledged.length
      let store: Store
      try {
        store = openEmbedded({ path, log: silent })
      } catch {
        report.failedOpens++
        continue
      }
      const now = await store.list()
      const changes = await changesSince(store, before.revision)
      await store.close()
      const given = new Set(acknowledged.map(({ revision }) => revision))
      const highest = Math.max(before.revision, ...given)
      const lowest = Math.min(Number.POSITIVE_INFINITY, ...given)
      if (given.size < acknowledged.length || lowest <= before.revision || now.revision < highest) report.backwards++
      if (!leadsTo(before, changes, now)) report.wrongLogs++
      if (!intact(path)) report.damaged++
      for (let writer = 0; writer < writers; writer++) {
        const promised = acknowledged.findLast(ack => ack.writer === writer)?.n ?? progress[writer]!.n
        const found = progressFound(progress[writer]!, now.items, writer, promised + 1)
        if (found === undefined) report.torn++
        else if (found.n > promised) report.unreported++
        else report.lost += promised - found.n
        progress[writer] = found ?? progress[writer]!
      }
      before = now
    }
  } finally {
    rmSync(path, { recursive: true })
  }
  return report
}

interface Acknowledged {
  writer: number
  n: number
  revision: Revision
}

async function writeAndDie(
  path: string,
  random: (below: number) => number,
  progress: readonly Progress[],
): Promise<{ opened: boolean; acknowledged: Acknowledged[] }> {
  const program = fileURLToPath(new URL('kill-writer.ts', import.meta.url))
  const done = JSON.stringify(progress.map(({ n }) => n))
  const child = spawn(process.execPath, [program, path, done], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  // One round in five dies while Node starts or the store opens, the others while they write.
  const early = random(5) === 0
  const after = random(early ? 120 : 200)
  if (!early) await Promise.race([once(child.stdout, 'data'), once(child, 'close')])
  const timer = setTimeout(() => child.kill('SIGKILL'), after)
  if (child.exitCode === null && child.signalCode === null) await once(child, 'close')
  clearTimeout(timer)
  if (child.signalCode !== 'SIGKILL') throw new Error(`the writer ended by itself with code ${child.exitCode}`)
  const [open, ...lines] = said.split('\n').slice(0, -1)
  const acknowledged = lines.map(line => {
    const [writer, n, revision] = line.split(' ').map(Number)
    return { writer: writer!, n: n!, revision: revision! }
  })
  return { opened: open === 'open', acknowledged }
}

function changesSince(store: Store, revision: Revision): Promise<Change[]> {
  const changes: Change[] = []
  return new Promise((resolve, reject) => {
    void store.list().then(({ revision: last }) => {
      if (last === revision) return resolve(changes)
      store.watch(
        revision,
        more => {
          changes.push(...more)
          if (more[0]!.revision === last) resolve(changes)
        },
        reject,
      )
    })
  })
}

function leadsTo(
  before: { items: readonly Item[]; revision: Revision },
  changes: Change[],
  now: { items: readonly Item[] },
) {
  const items = new Map(before.items.map(item => [`${item.kind}/${item.id}`, item]))
  let last = before.revision
  for (const { kind, id, item, revision } of changes) {
    if (revision !== last && revision !== last + 1) return false
    last = revision
    if (item === undefined) items.delete(`${kind}/${id}`)
    else items.set(`${kind}/${id}`, item)
  }
  return isDeepStrictEqual(items, new Map(now.items.map(item => [`${item.kind}/${item.id}`, item])))
}

/** What `n` writes of a writer have made of its items. */
interface Progress {
  n: number
  items: ReadonlyMap<string, Write['value']>
}

/** The furthest progress from `from` on, up to `most` writes, that the writer's items are; undefined if they are none. */
function progressFound(from: Progress, items: readonly Item[], writer: number, most: number): Progress | undefined {
  const own = items.filter(({ id }) => id.startsWith(`w${writer}-`))
  const there = new Map(own.map(({ kind, id, value }) => [`${kind}/${id}`, value]))
  const expected = new Map(from.items)
  let found = isDeepStrictEqual(expected, there) ? from : undefined
  for (let n = from.n + 1; n <= most; n++) {
    const writes = nthWrite(writer, n)
    for (const { kind, id, value } of writes) {
      if (value === null) expected.delete(`${kind}/${id}`)
      else expected.set(`${kind}/${id}`, value)
    }
    const { kind, id } = writes.at(-1)!
    // Most states are not the one that is there, and what was written last tells that fast.
    if (there.get(`${kind}/${id}`)?.n === n && isDeepStrictEqual(expected, there))
      found = { n, items: new Map(expected) }
  }
  return found
}

function intact(path: string): boolean {
  const db = new DatabaseSync(join(path, 'sluice.db'), { readOnly: true })
  try {
    return db.prepare('pragma integrity_check').get()!.integrity_check === 'ok'
  } finally {
    db.close()
  }
}
