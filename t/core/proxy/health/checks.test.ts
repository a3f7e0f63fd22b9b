// The checks of an upstream with their defaults (facts core 3.4).
import assert from 'node:assert/strict'
import { healthChecks } from '../../../../core/proxy/health/checks.ts'

describe('checks', () => {
  it('have defaults for everything, and probe nothing in a state of which they do not speak', () => {
    const { active, passive, slowStartMs } = healthChecks({ active: {} })
    assert.deepEqual(active, {
      type: 'http',
      timeoutMs: 1000,
      concurrency: 10,
      host: undefined,
      port: undefined,
      method: 'GET',
      path: '/',
      body: '',
      verify: true,
      headers: [],
      healthy: { intervalMs: 0, statuses: [200, 302], successes: 2 },
      unhealthy: {
        intervalMs: 0,
        statuses: [429, 404, 500, 501, 502, 503, 504, 505],
        limits: { http: 5, tcp: 2, timeout: 3 },
      },
    })
    assert.equal(passive, undefined)
    assert.equal(slowStartMs, 0)
  })

  it('probe every second in a state of which they speak', () => {
    const { active } = healthChecks({ active: { healthy: {}, unhealthy: { tcp_failures: 9 } } })
    assert.deepEqual([active.healthy.intervalMs, active.unhealthy.intervalMs], [1000, 1000])
    assert.deepEqual(active.unhealthy.limits, { http: 5, tcp: 9, timeout: 3 })
  })

  it('look at requests only when they are told to, by numbers of their own', () => {
    const { passive } = healthChecks({ active: {}, passive: {} })
    assert.equal(passive?.healthy.successes, 5)
    assert.deepEqual(passive?.unhealthy, { statuses: [429, 500, 503], limits: { http: 5, tcp: 2, timeout: 7 } })
    assert.ok(passive?.healthy.statuses.includes(308) && !passive.healthy.statuses.includes(404))
    const { passive: own } = healthChecks({
      active: {},
      passive: { type: 'tcp', healthy: { successes: 0 }, unhealthy: { http_failures: 0, http_statuses: [404] } },
    })
    assert.equal(own?.type, 'tcp')
    assert.equal(own?.healthy.successes, 0)
    assert.deepEqual(own?.unhealthy, { statuses: [404], limits: { http: 0, tcp: 2, timeout: 7 } })
  })

  it('take times in seconds and fields as they are written', () => {
    const { active, slowStartMs } = healthChecks({
      active: { timeout: 0.5, req_headers: ['X-One: 1', 'x-two:a:b', 'X-Empty:'], healthy: { interval: 3 } },
      slow_start: 30,
    })
    assert.equal(active.timeoutMs, 500)
    assert.equal(active.healthy.intervalMs, 3000)
    assert.deepEqual(active.headers, ['X-One', '1', 'x-two', 'a:b', 'X-Empty', ''])
    assert.equal(slowStartMs, 30_000)
  })
})
