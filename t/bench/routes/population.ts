// Routes by the thousand, and requests for them: distinct paths, a third each exact, prefix and with a star in the middle.
import type { Item } from '../../../core/store/store.ts'

export function uriOf(at: number): string {
  const section = at % 317
  if (at % 3 === 0) return `/api/v1/section-${section}/service-${at}/status`
  return at % 3 === 1 ? `/files/section-${section}/${at}/*` : `/orgs/section-${section}/${at}/*/settings`
}

/** A path that the route at `at` serves. */
export function pathOf(at: number): string {
  return uriOf(at).replace('*', 'some/where')
}

/** A route of about a kilobyte, as JSON; `version` makes another of it. */
export function itemOf(at: number, version = 0): Item {
  const id = `route-${at}`
  const value = {
    id,
    name: `service ${at}`,
    desc: 'What this route is for, who owns it, and whom to call when it does not answer; nobody reads that. '.repeat(
      2,
    ),
    labels: { team: `team-${at % 40}`, stage: 'production', version: `${version}` },
    uri: uriOf(at),
    methods: ['GET', 'POST', 'PUT'],
    plugins: {
      'key-auth': { header: 'Authorization', hide_credentials: true },
      'proxy-rewrite': { headers: { set: { 'X-Service': `service-${at}`, 'X-Region': 'eu-west-1' } } },
      'response-rewrite': { headers: { set: { 'X-Version': `${version}`, 'X-Served-By': `service-${at}` } } },
      prometheus: { prefer_name: true },
    },
    upstream: {
      type: 'roundrobin',
      nodes: { '10.0.0.1:8080': 1, '10.0.0.2:8080': 1, '10.0.0.3:8080': 2 },
      timeout: { connect: 5, send: 5, read: 30 },
      retries: 2,
    },
    create_time: 1_764_000_000,
    update_time: 1_764_000_000 + version,
  }
  // As a store gives it.
  return { kind: 'routes', id, value: JSON.parse(JSON.stringify(value)), createRevision: 1, modRevision: version + 1 }
}
