// The health of a target: the states it goes through, against a model that says the same at length (facts core 6.6).
import assert from 'node:assert/strict'
import fc from 'fast-check'
import {
  after,
  type Counter,
  counterOf,
  countOf,
  isUsable,
  type Sign,
  statusOf,
} from '../../../../core/proxy/health/state.ts'

type Limits = Record<Sign, number>
const LIMITS: Limits = { success: 2, http: 5, tcp: 2, timeout: 3 }

const walk = (signs: readonly Sign[], limits = LIMITS) =>
  signs.reduce((state, sign) => after(state, sign, limits[sign]), 0)

describe('a target', () => {
  it('is healthy as long as nobody says otherwise', () => {
    assert.deepEqual([statusOf(0), isUsable(0)], ['healthy', true])
    assert.deepEqual(counterOf(0), { success: 0, http_failure: 0, tcp_failure: 0, timeout_failure: 0 })
    assert.equal(walk(['success', 'success', 'success']), 0)
  })

  const steps: [Sign[], string, Partial<Counter>][] = [
    [['http'], 'mostly_healthy', { http_failure: 1 }],
    [['http', 'http', 'http', 'http'], 'mostly_healthy', { http_failure: 4 }],
    [['http', 'http', 'http', 'http', 'http'], 'unhealthy', { http_failure: 5 }],
    [['tcp', 'tcp'], 'unhealthy', { tcp_failure: 2 }],
    [['timeout', 'timeout', 'timeout'], 'unhealthy', { timeout_failure: 3 }],
    [['tcp', 'timeout', 'timeout', 'http'], 'mostly_healthy', { tcp_failure: 1, timeout_failure: 2, http_failure: 1 }],
    [['tcp', 'timeout', 'tcp'], 'unhealthy', { tcp_failure: 2, timeout_failure: 1 }],
    [['tcp', 'success'], 'mostly_healthy', { success: 1 }],
    [['tcp', 'success', 'tcp'], 'mostly_healthy', { tcp_failure: 1 }],
    [['tcp', 'success', 'success'], 'healthy', { success: 2 }],
    [['tcp', 'tcp', 'tcp', 'http'], 'unhealthy', { tcp_failure: 2 }],
    [['tcp', 'tcp', 'success'], 'mostly_unhealthy', { success: 1 }],
    [['tcp', 'tcp', 'success', 'tcp'], 'mostly_unhealthy', { tcp_failure: 1 }],
    [['tcp', 'tcp', 'success', 'tcp', 'tcp'], 'unhealthy', { tcp_failure: 2 }],
    [['tcp', 'tcp', 'success', 'success'], 'healthy', { success: 2 }],
    [['tcp', 'tcp', 'success', 'success', 'timeout'], 'mostly_healthy', { timeout_failure: 1 }],
  ]
  for (const [signs, status, counter] of steps) {
    it(`is ${status} after ${signs.join(', ')}`, () => {
      const state = walk(signs)
      assert.equal(statusOf(state), status)
      assert.equal(isUsable(state), status === 'healthy' || status === 'mostly_healthy')
      const none = { success: 0, http_failure: 0, tcp_failure: 0, timeout_failure: 0 }
      assert.deepEqual(counterOf(state), { ...none, ...counter })
    })
  }

  it('moves by nothing that has no limit', () => {
    assert.equal(walk(['tcp', 'tcp', 'tcp'], { ...LIMITS, tcp: 0 }), 0)
    assert.equal(statusOf(walk(['tcp', 'tcp', 'success', 'success'], { ...LIMITS, success: 0 })), 'unhealthy')
  })

  it('goes where the model goes, whatever is seen and whatever the limits', () => {
    const limit = fc.integer({ min: 0, max: 254 })
    const sign = fc.constantFrom<Sign>('success', 'http', 'tcp', 'timeout')
    // Runs of one sign, so that limits are reached.
    const signs = fc.array(fc.tuple(sign, fc.integer({ min: 1, max: 300 })), { maxLength: 12 })
    fc.assert(
      fc.property(fc.record({ success: limit, http: limit, tcp: limit, timeout: limit }), signs, (limits, runs) => {
        const model = new Model(limits)
        let state = 0
        for (const [sign, times] of runs) {
          for (let time = 0; time < times; time++) {
            model.see(sign)
            state = after(state, sign, limits[sign])
            assert.equal(statusOf(state), model.status)
            assert.equal(countOf(state, sign), model.counts[sign])
          }
        }
        const { success, http: http_failure, tcp: tcp_failure, timeout: timeout_failure } = model.counts
        assert.deepEqual(counterOf(state), { success, http_failure, tcp_failure, timeout_failure })
      }),
      { numRuns: 200, seed: 20_261_120 },
    )
  })
})

class Model {
  status = 'healthy'
  counts = { success: 0, http: 0, tcp: 0, timeout: 0 }
  readonly #limits: Limits
  constructor(limits: Limits) {
    this.#limits = limits
  }
  see(sign: Sign): void {
    if (this.#limits[sign] === 0) return
    const verdict = sign === 'success' ? 'healthy' : 'unhealthy'
    if (this.status === verdict) return
    if (sign === 'success') this.counts = { ...this.counts, http: 0, tcp: 0, timeout: 0 }
    else this.counts.success = 0
    this.counts[sign]++
    if (this.counts[sign] >= this.#limits[sign]) this.status = verdict
    else if (this.status === 'healthy') this.status = 'mostly_healthy'
    else if (this.status === 'unhealthy') this.status = 'mostly_unhealthy'
  }
}
