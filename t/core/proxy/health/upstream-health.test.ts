// The health of an upstream's nodes: which targets they are, when they are asked for, and what requests tell of them.
import assert from 'node:assert/strict'
import { silent } from '../../../../core/observe/log.ts'
import type { Target, Watch } from '../../../../core/proxy/health/board.ts'
import { healthChecks, type WrittenChecks } from '../../../../core/proxy/health/checks.ts'
import { isUsable, statusOf } from '../../../../core/proxy/health/state.ts'
import { UpstreamHealth, type UpstreamHealthOptions } from '../../../../core/proxy/health/upstream-health.ts'
import { Watches } from '../../../../core/proxy/health/watches.ts'
import { healthMemory, SharedHealth } from '../../../../core/workers/shared-health.ts'
import { node } from '../../../helpers/node.ts'

describe('the health of an upstream', () => {
  let clock: number
  let board: Watches
  let told: (Watch | string)[]
  beforeEach(() => {
    clock = 1_000_000_000
    told = []
    board = new Watches(new SharedHealth(healthMemory(), 0, () => clock), {
      watch: watch => told.push(watch),
      unwatch: key => told.push(`end ${key.split(' ')[0]}`),
    })
  })
  function health(checks: WrittenChecks, given: Partial<UpstreamHealthOptions> = {}): UpstreamHealth {
    const options = { name: '/apisix/upstreams/1', host: undefined, log: silent, board }
    return new UpstreamHealth({ ...options, checks: healthChecks(checks), ...given })
  }
  const targets = (at = -1) => (told.at(at) as Watch).targets

  describe('has targets', () => {
    const cases: [string, Target, WrittenChecks['active'], Partial<UpstreamHealthOptions>?][] = [
      ['of an address', { ip: '10.0.0.1', port: 8080, hostname: '10.0.0.1', hostHeader: '10.0.0.1' }, {}],
      ['told another port', { ip: '10.0.0.1', port: 9, hostname: '10.0.0.1', hostHeader: '10.0.0.1' }, { port: 9 }],
      ['told a host', { ip: '10.0.0.1', port: 8080, hostname: 'h.test', hostHeader: 'h.test' }, { host: 'h.test' }],
      [
        'of upstream_host',
        { ip: '10.0.0.1', port: 8080, hostname: 'h.test', hostHeader: 'up.test:1' },
        { host: 'h.test' },
        { host: 'up.test:1' },
      ],
    ]
    for (const [what, target, active, given] of cases) {
      it(what, () => {
        health({ active }, given).watch([node('10.0.0.1', { port: 8080 })])
        assert.deepEqual(targets(), [target])
      })
    }

    it('of a name, which goes before the host that checks say', () => {
      const named = node('node.test', { address: '10.0.0.2' })
      health({ active: {} }).watch([named])
      assert.deepEqual(targets(), [{ ip: '10.0.0.2', port: 80, hostname: 'node.test', hostHeader: 'node.test' }])
      health({ active: { host: 'h.test' } }).watch([named])
      assert.deepEqual(targets(), [{ ip: '10.0.0.2', port: 80, hostname: 'h.test', hostHeader: 'node.test' }])
    })

    it('of an IPv6 address, in brackets where it is a Host', () => {
      health({ active: {} }).watch([node('::1')])
      assert.deepEqual(targets(), [{ ip: '::1', port: 80, hostname: '::1', hostHeader: '[::1]' }])
    })
  })

  it('is asked for once by equal upstreams, and ended by the last of them', () => {
    const [one, two] = [health({ active: {} }), health({ active: {} })]
    assert.ok(!one.watched)
    one.watch([node('a')])
    assert.ok(two.watched)
    two.watch([node('a'), node('b')])
    assert.equal(told.length, 2)
    assert.equal((told[0] as Watch).key, (told[1] as Watch).key)
    two.close()
    assert.deepEqual(
      targets().map(({ ip }) => ip),
      ['a'],
      'what the other one wants counts again',
    )
    one.close()
    one.close()
    assert.deepEqual(told.slice(3), ['end /apisix/upstreams/1'])
    assert.ok(!health({ active: { port: 1 } }).watched)
  })

  it('is not forgotten between one list of nodes and the next', () => {
    const one = health({ active: {} })
    one.watch([node('a')])
    one.watch([node('b')])
    assert.equal(told.length, 2)
    one.close()
    assert.equal(told.length, 3)
  })

  describe('sees in requests', () => {
    const one = node('10.0.0.1')
    const passive: WrittenChecks['passive'] = {
      healthy: { successes: 2 },
      unhealthy: { http_failures: 2, tcp_failures: 2, timeouts: 2 },
    }
    function watched(checks: WrittenChecks): UpstreamHealth & { state(): string } {
      const own = health(checks)
      own.watch([one])
      const cell = () => board.cell(`${(told.at(-1) as Watch).key} 10.0.0.1 80 10.0.0.1`)!
      return Object.assign(own, { state: () => statusOf(cell().state) })
    }

    it('nothing when it is not told to look', () => {
      const own = watched({ active: {} })
      for (let times = 0; times < 10; times++) {
        own.answered(one, 500)
        own.failed(one, 'refused', 502)
      }
      assert.equal(own.state(), 'healthy')
    })

    it('failing statuses, and good ones that end their count', () => {
      const own = watched({ active: {}, passive })
      const changes = own.changes
      own.answered(one, 500)
      assert.equal(own.state(), 'mostly_healthy')
      own.answered(one, 200)
      own.answered(one, 404)
      own.answered(one, 503)
      assert.ok(own.usable(one))
      own.answered(one, 500)
      assert.equal(own.state(), 'unhealthy')
      assert.ok(!own.usable(one))
      assert.equal(own.changes, changes + 1)
      own.answered(one, 200)
      own.answered(one, 200)
      assert.equal(own.state(), 'healthy')
    })

    for (const fault of ['refused', 'reset', 'malformed', 'connect_timeout', 'headers_timeout']) {
      it(`a node that fails by ${fault}`, () => {
        const own = watched({ active: {}, passive })
        own.failed(one, fault, fault.endsWith('timeout') ? 504 : 502)
        assert.equal(own.state(), 'mostly_healthy')
        own.failed(one, fault, 502)
        assert.equal(own.state(), 'unhealthy')
      })
    }

    it('timeouts and other failures apart', () => {
      const own = watched({ active: {}, passive })
      own.failed(one, 'refused', 502)
      own.failed(one, 'headers_timeout', 504)
      assert.equal(own.state(), 'mostly_healthy')
    })

    it('the 502 of a failed node as a status, where that is what it is told to look for', () => {
      const own = watched({
        active: {},
        passive: { unhealthy: { http_statuses: [502], http_failures: 1, tcp_failures: 0 } },
      })
      own.failed(one, 'refused', 502)
      assert.equal(own.state(), 'unhealthy')
    })

    it('no statuses where it looks at connections only', () => {
      const own = watched({ active: {}, passive: { ...passive, type: 'tcp' } })
      for (let times = 0; times < 5; times++) own.answered(one, 500)
      assert.equal(own.state(), 'healthy')
      own.failed(one, 'refused', 502)
      own.failed(one, 'refused', 502)
      assert.equal(own.state(), 'unhealthy')
    })

    it('nothing of a node that it does not know', () => {
      const own = watched({ active: {}, passive })
      own.answered(node('other'), 500)
      assert.ok(own.usable(node('other')))
    })
  })

  it('gives a node that came back its share little by little', () => {
    const one = node('10.0.0.1')
    const own = health({
      active: {},
      passive: { healthy: { successes: 1 }, unhealthy: { tcp_failures: 1 } },
      slow_start: 20,
    })
    own.watch([one])
    assert.equal(own.share(one), 1, 'one that was always there has all of it')
    own.failed(one, 'refused', 502)
    own.answered(one, 200)
    const shares = [0, 2, 5, 10, 20, 600].map(second => {
      clock = 1_000_000_000 + second * 1000
      return own.share(one)
    })
    assert.deepEqual(shares, [0.1, 0.1, 0.25, 0.5, 1, 1])
    const at = health({ active: {} })
    at.watch([one])
    assert.equal(at.share(one), 1)
    assert.ok(isUsable(0))
  })
})
