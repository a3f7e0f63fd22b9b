// Opens a SQLite file of ours, that of the embedded store first of all: folder, modes, lock and format; knows nothing of rows.
import { closeSync, fsyncSync, mkdirSync, openSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { tables } from './embedded-tables.ts'

export interface Database {
  /** Of the file. */
  readonly name: string
  /** As errors call it: `the store`. */
  readonly called: string
  /** Tells our file from anybody else's SQLite database, kept in `application_id`. */
  readonly mark: number
  /** The format this code reads and writes, kept in `user_version`. */
  readonly format: number
  /** SQL that makes an empty one. */
  readonly tables: string
}

/** "Slui". */
const store: Database = { name: 'sluice.db', called: 'the store', mark: 0x536c7569, format: 1, tables }

/** Opens that of the embedded store, see `openDatabase`. */
export function openFile(folder: string): DatabaseSync {
  return openDatabase(folder, store)
}

/**
 * Opens the file in `folder`, which nobody else can open until it is closed or this process has died; makes folder
 * (mode 0700) and file (0600) where they are missing.
 * Throws an Error that names the folder and says what is wrong: in use, no database, not ours, of a newer version,
 * not accessible. A file that is refused is left as it is.
 */
export function openDatabase(folder: string, database: Database): DatabaseSync {
  const { name, called, mark, format } = database
  let db: DatabaseSync | undefined
  try {
    const file = join(folder, name)
    make(folder, file)
    db = new DatabaseSync(file)
    // In WAL mode this lock is exclusive from the first read on, against readers too, and the kernel drops it with the
    // process. It also keeps the WAL's index in memory, so there is no -shm file. It is a POSIX lock: opening and closing
    // the file by other means in this process would drop it.
    db.exec('pragma locking_mode = exclusive')
    const known = formatOf(db, database)
    db.exec('pragma journal_mode = wal; pragma synchronous = full; pragma journal_size_limit = 16777216')
    if (known === undefined) {
      db.exec(`begin; ${database.tables} pragma application_id = ${mark}; pragma user_version = ${format}; commit`)
    }
    return db
  } catch (error) {
    db?.close()
    throw new Error(`${called} in ${folder} ${reason(error, name)}`, { cause: error })
  }
}

/** Never opens a file that is there: see the lock. SQLite gives its WAL the mode of the database. */
function make(folder: string, file: string): void {
  if (mkdirSync(folder, { recursive: true, mode: 0o700 }) !== undefined) {
    // SQLite syncs the folder it writes into, not the one above.
    const above = openSync(dirname(folder), 'r')
    fsyncSync(above)
    closeSync(above)
  }
  try {
    closeSync(openSync(file, 'wx', 0o600))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

class Refused extends Error {}

/** Undefined for a database without tables, which a crash in the first start leaves too. Changes nothing. */
function formatOf(db: DatabaseSync, { mark, format }: Database): number | undefined {
  const { owner, version, entries } = db
    .prepare(
      `select application_id as owner, user_version as version, (select count(*) from sqlite_schema) as entries
       from pragma_application_id, pragma_user_version`,
    )
    .get() as { owner: number; version: number; entries: number }
  if (owner === 0 && version === 0 && entries === 0) return undefined
  if (owner !== mark) throw new Refused('is a database of another program')
  if (version !== format) {
    throw new Refused(
      `was written by another version of Sluice (its format is ${version}, this version knows ${format})`,
    )
  }
  return version
}

function reason(error: unknown, name: string): string {
  if (error instanceof Refused) return error.message
  const { errcode } = error as { errcode?: number }
  // Primary result codes: SQLITE_BUSY, SQLITE_NOTADB.
  if (errcode !== undefined && (errcode & 0xff) === 5) return 'is in use by another process'
  if (errcode !== undefined && (errcode & 0xff) === 26) return `cannot be opened: ${name} is not a database`
  return `cannot be opened: ${(error as Error).message}`
}
