// Whether the limit of an instance has room: whoever limits tells, whoever chooses an instance asks; knows neither.
import { slot } from '../context.ts'

/** Looks and takes nothing. */
export type InstanceQuota = (instance: string) => boolean | Promise<boolean>

/** Set in the rewrite phase, before anybody chooses; undefined where nothing is limited. */
export const instanceQuota = slot<InstanceQuota>()
