// The routers by the names that `apisix.router.http` has for them (facts core 2.1).
import { HostRouter } from './host-router.ts'
import type { Target } from './path-index.ts'
import { PathRouter } from './path-router.ts'
import type { Router } from './router.ts'

export const routerNames = ['radixtree_host_uri', 'radixtree_uri', 'radixtree_uri_with_parameter'] as const
export type RouterName = (typeof routerNames)[number]

export function makeRouter<T extends Target>(name: RouterName): Router<T> {
  if (name === 'radixtree_host_uri') return new HostRouter()
  return new PathRouter({ parameters: name === 'radixtree_uri_with_parameter' })
}
