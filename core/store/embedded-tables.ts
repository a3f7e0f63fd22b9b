// The embedded store's tables: their SQL, and how rows become items and changes; knows neither transactions nor time.
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { type Change, checkWrites, type Item, type Kind, type Revision, type Write } from './store.ts'

/** `item` is what is, `change` what led to it. Times are milliseconds since the epoch; `value` is JSON. */
export const tables = `
  create table item (
    kind text not null, id text not null, value text not null,
    created integer not null, revision integer not null, expires integer,
    primary key (kind, id)
  ) strict;
  create index item_expires on item (expires) where expires is not null;
  create table change (
    revision integer not null, position integer not null,
    kind text not null, id text not null, value text, created integer,
    primary key (revision, position)
  ) strict;
`

export interface Row {
  kind: Kind
  id: string
  /** JSON; null deletes. */
  value: string | null
  /** Milliseconds since the epoch; null for ever. */
  expires: number | null
  /** What is below it is deleted too. */
  below?: boolean | undefined
}

export function prepare(db: DatabaseSync) {
  return {
    page: db.prepare(`
      select kind, id, value, created, revision from item where (kind, id) > (?, ?) order by kind, id limit ?`),
    get: db.prepare('select kind, id, value, created, revision from item where kind = ? and id = ?'),
    put: db.prepare(`
      insert into item (kind, id, value, created, revision, expires) values (?, ?, ?, ?, ?, ?)
      on conflict do update set value = excluded.value, revision = excluded.revision, expires = excluded.expires
      returning created`),
    remove: db.prepare('delete from item where kind = ? and id = ?'),
    below: db.prepare('select id from item where kind = ? and id >= ? and id < ? order by id'),
    due: db.prepare('select kind, id from item where expires <= ?'),
    note: db.prepare('insert into change (revision, position, kind, id, value, created) values (?, ?, ?, ?, ?, ?)'),
    forget: db.prepare('delete from change where revision <= ?'),
    kept: db.prepare(`
      select coalesce((select min(revision) from change), 1) as oldest,
             coalesce((select max(revision) from change), 0) as newest`),
    changes: db.prepare(`
      select revision, kind, id, value, created from change where revision > ? and revision <= ?
      order by revision, position`),
  } satisfies Record<string, StatementSync>
}

/** Throws on what no store could keep, see checkWrites. */
export function encode(changes: readonly Write[], now: number): Row[] {
  checkWrites(changes)
  return changes.map(({ kind, id, value, ttlSeconds, below }) => {
    const expires = ttlSeconds === undefined ? null : Math.ceil(now + ttlSeconds * 1000)
    return { kind, id, value: value === null ? null : JSON.stringify(value), expires, below }
  })
}

/** Only what `encode` made is written into these columns: kinds are Kinds, values JSON objects. */
type StoredRow = Record<string, unknown>

export function item(row: StoredRow): Item {
  return {
    kind: row.kind as Kind,
    id: row.id as string,
    value: JSON.parse(row.value as string) as Item['value'],
    createRevision: row.created as Revision,
    modRevision: row.revision as Revision,
  }
}

export function change(row: StoredRow): Change {
  const { kind, id, revision } = row as { kind: Kind; id: string; revision: Revision }
  return { kind, id, item: row.value === null ? undefined : item(row), revision }
}
