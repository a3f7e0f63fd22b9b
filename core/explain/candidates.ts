// The routes that a request might have met, in order of precedence, each with why it is not the one; the router says who they are.
import type { Context } from '../context.ts'
import { readPath } from '../router/path-pattern.ts'
import type { Found, Seen } from '../router/router.ts'
import type { RouteEdition } from '../served-route.ts'
import type { Snapshot } from '../snapshot.ts'

/** One pattern of one route, whose path fits. */
export interface Candidate {
  route: string
  uri: string
  /** Empty for any. */
  host: string
  priority: number
  /** It is the one that serves. */
  matches: boolean
  /** The condition that failed, or, of one that would do, what the one that serves is before it by. */
  failed: 'status' | 'host' | 'methods' | 'remote_addrs' | 'vars' | 'filter_func' | Behind | undefined
  why: string
}

type Behind = 'less_specific_host' | 'less_specific_path' | 'priority' | 'shorter_pattern' | 'later_id'

const MAX_SHOWN = 50
const MAX_NAMED = 5

/** `found` is what the router has found. At most 50 are shown, that one always among them. */
export function candidatesOf(
  ctx: Context,
  snapshot: Snapshot,
  found: Found<RouteEdition> | undefined,
): { shown: Candidate[]; more: number } {
  const shown: Candidate[] = []
  let more = 0
  snapshot.visit(ctx, seen => {
    const isFound = found?.value === seen.value && found.uri === seen.uri && found.host === seen.host
    if (shown.length >= MAX_SHOWN && !isFound) more++
    else shown.push(isFound ? matching(seen) : failing(seen, ctx, { snapshot, found }))
  })
  return { shown, more }
}

function matching(seen: Seen<RouteEdition>): Candidate {
  return { ...about(seen), matches: true, failed: undefined, why: 'the first whose conditions all hold' }
}

function failing(
  seen: Seen<RouteEdition>,
  ctx: Context,
  { snapshot, found }: { snapshot: Snapshot; found: Found<RouteEdition> | undefined },
): Candidate {
  const { value: route, wrongHost } = seen
  const { methods = [], remote_addrs: several, remote_addr: one } = route.resource
  const no = (failed: Exclude<Candidate['failed'], undefined>, why: string): Candidate => ({
    ...about(seen),
    matches: false,
    failed,
    why,
  })
  if (!route.enabled) return no('status', 'the route is off: its status is 0')
  if (wrongHost !== undefined) return no('host', `the host is not ${listed(wrongHost)}`)
  switch (route.refusedBy(ctx)) {
    case 'methods':
      return no('methods', `the method is not ${listed(methods)}`)
    case 'remote_addrs':
      return no('remote_addrs', `the client is not of ${listed(several ?? [one!])}`)
    case 'vars':
      return no('vars', 'its vars do not hold')
    case 'filter_func':
      return no('filter_func', 'its filter_func says no')
    default:
  }
  // A route that nothing speaks against would have been found.
  if (found === undefined) throw new Error('a route that fits was not found')
  const behind = behindBy(seen, found, snapshot)
  return no(behind, `${found.value.id} comes before it: ${BEHIND[behind]}`)
}

const BEHIND: Readonly<Record<Behind, string>> = {
  less_specific_host: 'its host is more specific',
  less_specific_path: 'its path is more specific',
  priority: 'its priority is higher',
  shorter_pattern: 'its pattern is longer',
  later_id: 'its id comes first',
}

/** The order that the router has decided, in words: which of its criteria tells the two apart (facts core 2.4). */
function behindBy(seen: Seen<RouteEdition>, found: Found<RouteEdition>, { env }: Snapshot): Behind {
  const router = env.router ?? 'radixtree_host_uri'
  if (router === 'radixtree_host_uri' && seen.host !== found.host) return 'less_specific_host'
  const syntax = { parameters: router === 'radixtree_uri_with_parameter' }
  const [one, other] = [readPath(seen.uri, syntax), readPath(found.uri, syntax)]
  if (one.literal !== other.literal || one.exact !== other.exact) return 'less_specific_path'
  if (seen.priority !== found.value.pattern.priority) return 'priority'
  return seen.uri.length === found.uri.length ? 'later_id' : 'shorter_pattern'
}

function about({
  value,
  uri,
  host,
  priority,
}: Seen<RouteEdition>): Pick<Candidate, 'route' | 'uri' | 'host' | 'priority'> {
  return { route: value.id, uri, host, priority }
}

function listed(values: readonly string[]): string {
  const more = values.length - MAX_NAMED
  const named = values.slice(0, MAX_NAMED).join(', ')
  return more > 0 ? `${named} or ${more} more` : named
}
