// Routers against the model, with whole routes and whole requests: used by a short test and by a long one.

import assert from 'node:assert/strict'
import fc from 'fast-check'
import { noAccounts } from '../../../core/budgets/touched.ts'
import { Editions } from '../../../core/editions.ts'
import { type Candidate, candidatesOf } from '../../../core/explain/candidates.ts'
import { silent } from '../../../core/observe/log.ts'
import { MetricsWriter } from '../../../core/observe/metrics-writer.ts'
import { checkResource } from '../../../core/resource.ts'
import { type RouterName, routerNames } from '../../../core/router/routers.ts'
import { makeContext } from '../../helpers/context.ts'
import { ledgers } from '../../helpers/ledgers.ts'
import { noAccount } from '../../helpers/no-account.ts'
import { upstreamEnv } from '../../helpers/upstream-env.ts'
import { type Asking, asking, decide, type History, history, type RouteValue } from './model.ts'

const REQUESTS = 5

/** Compares at least `pairs` pairs of a set of routes and a request, a third of them with each router. */
export async function compareRouters(pairs: number, seed: number): Promise<void> {
  const property = fc.asyncProperty(
    fc.constantFrom(...routerNames),
    history,
    fc.array(asking, { minLength: REQUESTS, maxLength: REQUESTS }),
    async (router, changes, asked) => {
      for (const { routes, find } of playing(router, changes)) {
        for (const each of asked) {
          const { facts, candidates } = await find(each)
          const found = facts && { id: facts.id, uri: facts.matchedUri, host: facts.matchedHost }
          assert.deepEqual(found, decide(router, routes, each))
          explains(candidates, found)
        }
      }
    },
  )
  await fc.assert(property, { numRuns: Math.ceil(pairs / REQUESTS), seed })
}

const CONDITIONS: ReadonlySet<unknown> = new Set(['status', 'host', 'methods', 'remote_addrs', 'vars'])

/** What is before the one that serves has failed at a condition, and only what is behind it could have served too. */
function explains(
  candidates: readonly Candidate[],
  found: { id: string; uri: string; host: string } | undefined,
): void {
  const at = candidates.findIndex(({ matches }) => matches)
  const serving = candidates[at]
  assert.deepEqual(serving && { id: serving.route, uri: serving.uri, host: serving.host }, found)
  for (const [place, { matches, failed }] of candidates.entries()) {
    if (at < 0 || place < at) assert.ok(CONDITIONS.has(failed), String(failed))
    if (place > at) assert.equal(matches, false)
  }
}

/** The routes there are after each batch, and what a gateway that went through all of them finds. */
function* playing(router: RouterName, changes: History) {
  const upstreams = upstreamEnv()
  const env = {
    router,
    now: Date.now,
    random: Math.random,
    log: silent,
    metrics: new MetricsWriter({ publish() {} }),
    ledger: ledgers(),
    accounts: noAccounts,
    transport: upstreams.transport,
    gcpTokens: noAccount(),
    upstreams,
    plugins: new Map(),
  }
  const editions: Editions = new Editions(env, unseen => {
    for (const each of unseen) editions.forget(each)
  })
  const routes = new Map<string, RouteValue>()
  for (const [revision, batch] of changes.entries()) {
    for (const { id, value } of batch) {
      if (value === undefined) {
        editions.remove('routes', id)
        routes.delete(id)
        continue
      }
      const item = { id, ...JSON.parse(JSON.stringify(value)), plugins: {} }
      assert.equal(checkResource('routes', item, env.plugins), undefined)
      editions.put({ kind: 'routes', id, value: item, createRevision: revision, modRevision: revision })
      routes.set(id, value)
    }
    editions.commit(revision)
    yield {
      routes,
      find: async ({ method, target, authority, remoteAddress, h }: Asking) => {
        const headers = { Host: authority, ...(h !== undefined && { H: h }) }
        const ctx = await makeContext({ method, target, headers, remoteAddress })
        const found = await editions.current.findWhenKnown(ctx)
        const { shown: candidates } = candidatesOf(ctx, editions.current, found)
        return { facts: editions.current.match(ctx)?.facts, candidates }
      },
    }
  }
}
