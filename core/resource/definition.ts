// What is known of one kind of resource: its schema, and what a schema cannot say; knows no particular kind.
import type { Schema } from '../plugin.ts'

type Value = Readonly<Record<string, unknown>>

/** Each answer is an `error_msg` of the admin API, or nothing. */
export interface Definition {
  /** What `/schema/...` shows. */
  readonly schema: Schema
  /** What the schema would say badly; asked of an object before its schema is. */
  exclusion?(value: Value): string | undefined
  /** What is wrong with a value that fits its schema, with defaults filled; not of its upstream and its plugins. */
  problem?(value: Value): string | undefined
  /** What APISIX would serve of a valid value and this version does not. */
  unserved?(value: Value): string | undefined
  /** What of a value that is accepted has no effect: one sentence each. */
  ineffective?(value: Value): string[]
  /** Whether `$secret://` and `$env://` may stand for any value, as in what plugins are given. */
  readonly references?: boolean
}
