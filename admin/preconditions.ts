// Entity tags and what clients make depend on them (RFC 9110 13): for who edits what another may edit too; knows no resource.
import { hash } from 'node:crypto'
import type { Context, Middleware } from 'koa'
import type { Revision } from '../core/store/store.ts'
import { Refused } from './answer.ts'

/** The tag of an item, or of a list: the revision it was changed at. */
export function etag(revision: Revision): string {
  return `"${revision}"`
}

/** Asks a client's condition of what is there; undefined is nothing. Throws 412 with the current revision. */
export type Precondition = (current: Revision | undefined) => void

/** What If-Match and If-None-Match ask for; undefined without them, and then nothing is different. */
export function preconditionOf(ctx: Context): Precondition | undefined {
  const holds = conditionOf(ctx)
  return (
    holds &&
    (current => {
      if (!holds(current === undefined ? undefined : etag(current))) throw preconditionFailed(current ?? 0)
    })
  )
}

/** Whether the tag of what is there, undefined for nothing, is one that the client writes on. */
export function conditionOf(ctx: Context): ((tag: string | undefined) => boolean) | undefined {
  const [match, noneMatch] = [ctx.get('If-Match'), ctx.get('If-None-Match')]
  if (match === '' && noneMatch === '') return undefined
  return tag => {
    const listed = (list: string) => tag !== undefined && (list === '*' || tags(list).includes(tag))
    return (match === '' || listed(match)) && !(noneMatch !== '' && listed(noneMatch))
  }
}

export function preconditionFailed(revision: Revision): Refused {
  return new Refused(412, { error_msg: `precondition failed: the current revision is ${revision}`, revision })
}

/** Weak tags (`W/"1"`) match nothing: what is asked for is the very same value. */
function tags(list: string): string[] {
  return list.split(',').map(tag => tag.trim())
}

/** Gives every answer to a GET a tag, and says 304 to who has it already. */
export function tagging(): Middleware {
  return async (ctx, next) => {
    await next()
    if ((ctx.method !== 'GET' && ctx.method !== 'HEAD') || ctx.status !== 200) return
    if (!ctx.response.get('ETag') && typeof ctx.body === 'string') ctx.set('ETag', `"${hash('sha256', ctx.body)}"`)
    if (ctx.fresh) ctx.status = 304
  }
}
