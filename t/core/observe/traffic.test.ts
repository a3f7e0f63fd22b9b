// Connections and requests as nginx counts them.
import assert from 'node:assert/strict'
import { MetricsReader } from '../../../core/observe/metrics-reader.ts'
import { MetricsWriter } from '../../../core/observe/metrics-writer.ts'
import { Traffic } from '../../../core/observe/traffic.ts'

function open() {
  const reader = new MetricsReader()
  const traffic = new Traffic(new MetricsWriter({ publish: series => reader.add(1, series) }))
  const states = () =>
    Object.fromEntries(
      [...reader.print().matchAll(/^apisix_nginx_http_current_connections\{state="(\w+)"\} (\d+)$/gm)].map(
        ([, state, count]) => [state, Number(count)],
      ),
    )
  return { reader, traffic, states }
}

const none = { active: 0, accepted: 0, handled: 0, total: 0, reading: 0, writing: 0, waiting: 0 }

describe('traffic', () => {
  it('is on the page before there is any', () => {
    const { reader, states } = open()
    assert.deepEqual(states(), none)
    assert.match(reader.print(), /^# TYPE apisix_http_requests_total gauge\napisix_http_requests_total 0$/m)
  })

  it('is what was accepted and handled, and what is at work or waits', () => {
    const { traffic, states } = open()
    for (const handled of [true, true, true, false]) traffic.opened(handled)
    traffic.closed()
    traffic.request()
    traffic.request()
    traffic.show(1)
    assert.deepEqual(states(), { ...none, active: 3, accepted: 4, handled: 3, total: 2, writing: 1, waiting: 2 })
  })

  it('has no more connections at work than there are, however many requests one has sent at once', () => {
    const { traffic, states } = open()
    traffic.opened(true)
    traffic.show(5)
    assert.deepEqual(states(), { ...none, active: 1, accepted: 1, handled: 1, writing: 1 })
  })

  it('stays counted when its worker is gone, and its connections do not', () => {
    const { reader, traffic, states } = open()
    traffic.opened(true)
    traffic.request()
    traffic.show(1)
    reader.removeWriter(1)
    assert.deepEqual(states(), { accepted: 1, handled: 1, total: 1 })
    assert.match(reader.print(), /^apisix_http_requests_total 1$/m)
  })
})
