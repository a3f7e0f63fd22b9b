// Metrics from the worker that writes them to the page that Prometheus reads.
import assert from 'node:assert/strict'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import type { SeriesDefinition } from '../../../core/observe/metrics.ts'
import { MetricsReader } from '../../../core/observe/metrics-reader.ts'
import { MetricsWriter } from '../../../core/observe/metrics-writer.ts'

function connected(options: { workers?: number; maxSeries?: number } = {}) {
  const reader = new MetricsReader()
  const { workers = 1, ...writer } = options
  const writers = Array.from(
    { length: workers },
    (_, id) => new MetricsWriter({ publish: definition => reader.add(id, definition), ...writer }),
  )
  return { reader, writers, writer: writers[0]! }
}

describe('the metrics page', () => {
  it('is the Prometheus text format, families sorted, labels and help escaped', () => {
    const { reader, writer } = connected()
    const latency = writer.histogram('http_latency', 'Latency\nof \\ requests', ['type'], [1, 2.5])
    writer.counter('bandwidth', 'Bytes', ['type', 'route']).add(['in', 'a"b\\c\nd'], 12.5)
    for (const value of [0.5, 1, 2, 100]) latency.observe(['request'], value)
    assert.equal(
      reader.print(),
      [
        '# HELP apisix_bandwidth Bytes',
        '# TYPE apisix_bandwidth counter',
        'apisix_bandwidth{type="in",route="a\\"b\\\\c\\nd"} 12.5',
        '# HELP apisix_http_latency Latency\\nof \\\\ requests',
        '# TYPE apisix_http_latency histogram',
        'apisix_http_latency_bucket{type="request",le="1"} 2',
        'apisix_http_latency_bucket{type="request",le="2.5"} 3',
        'apisix_http_latency_bucket{type="request",le="+Inf"} 4',
        'apisix_http_latency_sum{type="request"} 103.5',
        'apisix_http_latency_count{type="request"} 4',
        '',
      ].join('\n'),
    )
  })

  it('has the prefix it was told, except before our own names, and labels only where there are some', () => {
    const reader = new MetricsReader({ prefix: 'gw_' })
    const writer = new MetricsWriter({ publish: definition => reader.add(0, definition) })
    writer.counter('requests', 'R', []).add([])
    writer.counter('sluice_things_total', 'T', []).add([])
    writer.histogram('sizes', 'S', [], [1]).observe([], 1)
    assert.match(reader.print(), /^gw_requests 1$/m)
    assert.match(reader.print(), /^sluice_things_total 1$/m)
    assert.match(reader.print(), /^gw_sizes_bucket\{le="1"\} 1$/m)
  })

  it('is empty before anything was counted', () => {
    const { reader, writer } = connected()
    writer.counter('requests', 'R', ['a'])
    assert.equal(reader.print(), '')
  })

  it('sums over workers, keeps what a gone one had counted, and forgets what was live in it', () => {
    const { reader, writers } = connected({ workers: 2 })
    for (const [id, writer] of writers.entries()) {
      writer.counter('requests', 'R', ['code']).add(['200'], id + 1)
      writer.histogram('sizes', 'S', [], [10]).observe([], 5)
      writer.liveGauge('live', 'L', ['route']).enter(['both'])
    }
    writers[1]!.liveGauge('live', 'L', ['route']).enter(['second'])
    const before = reader.print()
    assert.match(before, /^apisix_requests\{code="200"\} 3$/m)
    assert.match(before, /^apisix_live\{route="both"\} 2$/m)
    reader.removeWriter(1)
    const after = reader.print()
    assert.match(after, /^apisix_requests\{code="200"\} 3$/m)
    assert.match(after, /^apisix_sizes_count 2$/m)
    assert.match(after, /^apisix_sizes_sum 10$/m)
    assert.match(after, /^apisix_live\{route="both"\} 1$/m)
    assert.doesNotMatch(after, /second/)
    const successor = new MetricsWriter({ publish: definition => reader.add(2, definition) })
    successor.counter('requests', 'R', ['code']).add(['200'])
    assert.match(reader.print(), /^apisix_requests\{code="200"\} 4$/m)
  })

  it('counts what was live in a gauge when its writer went, where it is told to', () => {
    const lapses = { gauge: 'sluice_live', counter: 'sluice_over_total', help: 'O' }
    const reader = new MetricsReader({ lapses })
    const writers = [1, 2, 3].map(id => new MetricsWriter({ publish: series => reader.add(id, series) }))
    for (const [at, writer] of writers.entries()) {
      const live = writer.liveGauge('sluice_live', 'L', ['kind'])
      for (let n = 0; n < at; n++) live.enter(['k'])
    }
    reader.removeWriter(1)
    assert.doesNotMatch(reader.print(), /over/)
    reader.removeWriter(3)
    assert.match(reader.print(), /^sluice_live\{kind="k"\} 1$/m)
    assert.match(reader.print(), /^sluice_over_total\{kind="k"\} 2$/m)
    writers[1]!.counter('sluice_over_total', 'O', ['kind']).add(['k'])
    assert.match(reader.print(), /^sluice_over_total\{kind="k"\} 3$/m)
  })

  it('refuses a family that is published twice, differently', () => {
    const { reader, writer } = connected()
    writer.counter('requests', 'R', ['code']).add(['200'])
    const other = new MetricsWriter({ publish: definition => reader.add(1, definition) })
    assert.throws(() => other.counter('requests', 'R', ['status']).add(['200']), /published twice/)
  })

  it('bounds its series over all workers that ever lived', () => {
    const reader = new MetricsReader({ maxSeries: 2 })
    for (let worker = 0; worker < 5; worker++) {
      const writer = new MetricsWriter({ publish: definition => reader.add(worker, definition) })
      writer.counter('requests', 'R', ['model']).add([`m${worker}`])
      reader.removeWriter(worker)
    }
    assert.match(reader.print(), /^apisix_requests\{model="other"\} 3$/m)
    assert.doesNotMatch(reader.print(), /m2/)
  })

  it('tells when series are more than it shows apart, and does not take back what it has counted as other', () => {
    const overflowed: string[] = []
    const reader = new MetricsReader({ maxSeries: 1, overflowed: family => void overflowed.push(family) })
    const writer = new MetricsWriter({
      publish: definition => reader.add(1, definition),
      withdraw: series => reader.remove(1, series),
    })
    const requests = writer.counter('requests', 'R', ['route'])
    for (const route of ['a', 'b', 'c']) requests.add([route], 2)
    assert.deepEqual(overflowed, ['requests', 'requests'])
    assert.match(reader.print(), /^apisix_requests\{route="other"\} 4$/m)
    writer.forget(['route'], 'b')
    // It gets the place that b had in memory.
    requests.add(['d'], 7)
    assert.match(reader.print(), /^apisix_requests\{route="other"\} 11$/m)
    reader.removeWriter(1)
    assert.match(reader.print(), /^apisix_requests\{route="other"\} 11$/m)
  })

  it('has series that only writers of old counted for as long as their route exists', () => {
    const routes = new Set(['kept', 'deleted'])
    const reader = new MetricsReader({ stays: { labels: ['route'], has: value => routes.has(value) } })
    const [old, living] = [1, 2].map(id => {
      const writer = new MetricsWriter({ publish: definition => reader.add(id, definition) })
      return writer.counter('requests', 'R', ['route', 'code'])
    })
    for (const route of ['kept', 'deleted', '']) old!.add([route, '200'])
    living!.add(['deleted', '404'])
    reader.removeWriter(1)
    assert.match(reader.print(), /route="deleted",code="200"\} 1/)
    routes.delete('deleted')
    const page = reader.print()
    assert.doesNotMatch(page, /route="deleted",code="200"/)
    assert.match(page, /route="kept",code="200"\} 1/)
    assert.match(page, /route="",code="200"\} 1/)
    // Its own worker will withdraw this one.
    assert.match(page, /route="deleted",code="404"\} 1/)
  })

  it('makes room by what is gone before it counts anything as other', () => {
    const routes = new Set(['new'])
    const reader = new MetricsReader({ maxSeries: 1, stays: { labels: ['route'], has: value => routes.has(value) } })
    for (const [id, route] of ['old', 'new'].entries()) {
      const writer = new MetricsWriter({ publish: definition => reader.add(id, definition) })
      writer.counter('requests', 'R', ['route']).add([route])
      if (route === 'old') reader.removeWriter(id)
    }
    assert.match(reader.print(), /^apisix_requests\{route="new"\} 1$/m)
  })

  it('comes in slices, however long it is, and takes next to nothing of its thread', () => {
    const { reader, writers } = connected({ workers: 4 })
    const buckets = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000]
    for (const writer of writers) {
      const latency = writer.histogram('http_latency', 'L', ['type', 'route'], buckets)
      for (let route = 0; route < 600; route++) latency.observe(['request', `a-route-with-a-name-${route}`], route)
    }
    const before = process.threadCpuUsage()
    const slices = [...reader.slices()]
    const { user, system } = process.threadCpuUsage(before)
    assert.equal(slices.join(''), reader.print())
    const lines = slices.map(slice => slice.split('\n').length - 1)
    assert.equal(
      lines.reduce((sum, count) => sum + count),
      2 + 600 * 18,
    )
    assert.ok(Math.max(...lines) < 3_000, String(lines))
    // Seen: 5 to 13 ms.
    assert.ok(user + system < 100_000, `${user + system} us`)
  })

  it('asks for gauges that somebody measures when it is printed', () => {
    const reader = new MetricsReader({ prefix: 'gw_' })
    const metrics = new MetricsWriter({ publish: series => reader.add(1, series) })
    metrics.counter('z', 'Z', []).add([])
    const targets = new Map([['a"b', 1]])
    reader.measure({
      name: 'upstream_status',
      help: 'U',
      labels: ['name', 'ip'],
      read: () => [...targets].map(([name, usable]) => [[name, '::1'], usable] as const),
    })
    const shown = `# HELP gw_upstream_status U
# TYPE gw_upstream_status gauge
gw_upstream_status{name="a\\"b",ip="::1"} 1
`
    const z = '# HELP gw_z Z\n# TYPE gw_z counter\ngw_z 1\n'
    assert.equal(reader.print(), shown + z)
    targets.clear()
    assert.equal(reader.print(), z)
  })

  it('gives names that are no text one series', () => {
    const { reader, writer } = connected()
    const requests = writer.counter('requests', 'R', ['model'])
    requests.add(['\ud800'])
    requests.add(['\ud801'])
    assert.match(reader.print(), /^apisix_requests\{model="\ufffd"\} 2$/m)
  })

  it('reads what another thread writes, while it writes', async () => {
    const reader = new MetricsReader()
    const code = `
      import { parentPort } from 'node:worker_threads'
      import { MetricsWriter } from ${JSON.stringify(new URL('../../../core/observe/metrics-writer.ts', import.meta.url).href)}
      const writer = new MetricsWriter({ publish: definition => parentPort.postMessage(definition) })
      const sizes = writer.histogram('sizes', 'S', [], [1, 2, 3])
      for (let n = 0; n < 400_000; n++) sizes.observe([], n % 5)
      parentPort.postMessage('done')
    `
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`))
    try {
      const definitions: SeriesDefinition[] = []
      const done = new Promise<void>((resolve, reject) => {
        worker.on('error', reject)
        worker.on('message', (message: SeriesDefinition | 'done') => {
          if (message === 'done') return resolve()
          definitions.push(message)
          reader.add(1, message)
        })
      })
      let over = false
      void done.finally(() => {
        over = true
      })
      while (!over) {
        const page = reader.print()
        assert.equal(/le="\+Inf"\} (\d+)/.exec(page)?.[1], /_count (\d+)/.exec(page)?.[1])
        await new Promise(resolve => setImmediate(resolve))
      }
      await done
      assert.equal(definitions.length, 1)
      assert.match(reader.print(), /^apisix_sizes_count 400000$/m)
      assert.match(reader.print(), /^apisix_sizes_bucket\{le="1"\} 160000$/m)
    } finally {
      await worker.terminate()
    }
  })
})

describe('a metrics writer', () => {
  it('publishes each series once, however often its family is declared', () => {
    const published: SeriesDefinition[] = []
    const writer = new MetricsWriter({ publish: definition => published.push(definition) })
    for (let n = 0; n < 3; n++) writer.counter('requests', 'R', ['code']).add(['200'])
    assert.deepEqual(
      published.map(({ name, labels }) => ({ name, labels })),
      [{ name: 'requests', labels: [['code', '200']] }],
    )
    assert.ok(published[0]!.memory.buffer instanceof SharedArrayBuffer)
  })

  it('refuses a family that is declared otherwise, a label too few, and what is no number', () => {
    const { writer, reader } = connected()
    const requests = writer.counter('requests', 'R', ['code'])
    assert.throws(() => writer.counter('requests', 'R', ['status']), /declared twice/)
    assert.throws(() => writer.histogram('requests', 'R', ['code'], [1]), /declared twice/)
    assert.throws(() => writer.histogram('h', 'H', [], [2, 1]), /ascend/)
    assert.throws(() => requests.add([]), /1 labels, not 0/)
    assert.throws(() => requests.add(['200'], -1), RangeError)
    assert.throws(() => requests.add(['200'], Number.NaN), RangeError)
    assert.throws(() => writer.histogram('h', 'H', [], [1]).observe([], Number.NaN), RangeError)
    assert.equal(reader.print(), '')
  })

  it('refuses families that would spoil the page or fill memory', () => {
    const { writer } = connected()
    writer.histogram('sizes', 'S', [], [1])
    writer.counter('spans_count', 'S', [])
    const refused: [name: string, labels: string[], why: RegExp][] = [
      ['a b', [], /can be no name/],
      ['a{b="c"}', [], /can be no name/],
      ['x'.repeat(201), [], /^Error: metric x{128}: this can be no name$/],
      ['a', ['b', 'b'], /twice/],
      ['a', ['b"c'], /no such name/],
      ['a', ['__name__'], /no such name/],
      ['a', ['le'], /no such name/],
      ['a', Array.from({ length: 51 }, (_, n) => `l${n}`), /more than 50 labels/],
      ['sizes_sum', [], /a histogram has a series of this name/],
    ]
    for (const [name, labels, why] of refused) assert.throws(() => writer.counter(name, 'H', labels), why, name)
    assert.throws(() => writer.histogram('spans', 'S', [], [1]), /a histogram has/)
    assert.throws(() => writer.counter('a', 'H'.repeat(1_001), []), /help/)
    const many = Array.from({ length: 101 }, (_, n) => n)
    assert.throws(() => writer.histogram('a', 'H', [], many), /more than 100 buckets/)
    assert.throws(() => {
      for (let n = 0; n < 1_001; n++) writer.counter(`made_up_${n}`, 'M', [])
    }, /made_up_998: there are too many/)
    writer.counter('made_up_5', 'M', []).add([])
  })

  it('cuts what is too long for a label, and takes what is no text', () => {
    const { reader, writer } = connected()
    const requests = writer.counter('requests', 'R', ['who', 'what'])
    requests.add(['x'.repeat(100_000), 'a'])
    requests.add([`${'x'.repeat(512)}y`, 'a'])
    requests.of([undefined, 5] as unknown as string[]).add()
    const page = reader.print()
    assert.match(page, /^apisix_requests\{who="x{512}",what="a"\} 2$/m)
    assert.match(page, /^apisix_requests\{who="",what="5"\} 1$/m)
  })

  it('counts as "other" what there is no memory for, in all families together, until there is again', () => {
    const reader = new MetricsReader()
    const writer = new MetricsWriter({
      publish: series => reader.add(0, series),
      withdraw: series => reader.remove(0, series),
      maxBytes: 100_000,
    })
    const [one, other] = ['one', 'two'].map(name => writer.counter(name, 'R', ['who']))
    for (let n = 0; n < 100; n++) one!.add([`${n}${'x'.repeat(500)}`])
    other!.add(['late'])
    assert.match(reader.print(), /^apisix_one\{who="other"\} \d\d$/m)
    assert.match(reader.print(), /^apisix_two\{who="other"\} 1$/m)
    writer.forget(['who'], `0${'x'.repeat(500)}`)
    other!.add(['late'])
    assert.match(reader.print(), /^apisix_two\{who="late"\} 1$/m)
  })

  it('counts label sets past the limit as "other", and says so', () => {
    const { reader, writer } = connected({ maxSeries: 2 })
    const requests = writer.counter('requests', 'R', ['model', 'code'])
    for (const model of ['a', 'b', 'c', 'd', 'a', 'c']) requests.add([model, '200'])
    const gauge = writer.liveGauge('live', 'L', ['model'])
    const leave = ['a', 'b', 'c', 'd'].map(model => gauge.enter([model]))
    const page = reader.print()
    assert.match(page, /^apisix_requests\{model="a",code="200"\} 2$/m)
    assert.match(page, /^apisix_requests\{model="other",code="other"\} 3$/m)
    assert.match(page, /^apisix_live\{model="other"\} 2$/m)
    assert.match(page, /^sluice_metric_series_overflow_total\{family="requests"\} 3$/m)
    for (const out of leave) out()
    assert.match(reader.print(), /^apisix_live\{model="other"\} 0$/m)
  })

  it('counts in a series that somebody keeps as in one that is looked up', () => {
    const { reader, writer } = connected()
    const requests = writer.counter('requests', 'R', ['code'])
    const kept = requests.of(['200'])
    assert.equal(reader.print(), '')
    kept.add()
    requests.add(['200'], 2)
    kept.add(4)
    writer.histogram('sizes', 'S', [], [10]).of([]).observe(3)
    const out = writer.liveGauge('live', 'L', []).of([]).enter()
    const measured = writer.gauge('level', 'L', ['of']).of(['water'])
    measured.set(9)
    measured.set(2.5)
    const page = reader.print()
    assert.match(page, /^apisix_requests\{code="200"\} 7$/m)
    assert.match(page, /^apisix_sizes_sum 3$/m)
    assert.match(page, /^apisix_live 1$/m)
    assert.match(page, /^apisix_level\{of="water"\} 2.5$/m)
    out()
    assert.match(reader.print(), /^apisix_live 0$/m)
    assert.throws(() => kept.add(-1), RangeError)
  })

  it('finds room for a series that somebody keeps as soon as there is some', () => {
    const { reader, writer } = connected({ maxSeries: 1 })
    const requests = writer.counter('requests', 'R', ['route'])
    requests.add(['a'])
    const kept = requests.of(['b'])
    kept.add()
    kept.add()
    assert.match(reader.print(), /^sluice_metric_series_overflow_total\{family="requests"\} 2$/m)
    assert.match(reader.print(), /^apisix_nginx_metric_errors_total 2$/m)
    writer.forget(['route'], 'a')
    kept.add()
    assert.match(reader.print(), /^apisix_requests\{route="b"\} 1$/m)
  })

  it('shows counters as gauges where APISIX does, beside gauges, and keeps them like counters', () => {
    const { reader, writer } = connected()
    writer.counter('connections', 'C', ['state'], 'gauge').add(['accepted'], 3)
    writer.gauge('connections', 'C', ['state']).of(['active']).set(2)
    assert.match(reader.print(), /^# TYPE apisix_connections gauge$/m)
    reader.removeWriter(0)
    assert.match(reader.print(), /^apisix_connections\{state="accepted"\} 3$/m)
    assert.doesNotMatch(reader.print(), /active/)
  })

  it('makes once what many ask for', () => {
    const { writer } = connected()
    const make = () => ({})
    assert.equal(writer.once(make), writer.once(make))
    assert.notEqual(
      writer.once(make),
      writer.once(() => ({})),
    )
  })

  it('lets a member of a gauge leave once', () => {
    const { reader, writer } = connected()
    const gauge = writer.liveGauge('live', 'L', [])
    const [first] = [gauge.enter([]), gauge.enter([])]
    first!()
    first!()
    assert.match(reader.print(), /^apisix_live 1$/m)
  })

  it('agrees with a plain model after any operations on any workers', () => {
    const label = fc.constantFrom('', 'a', 'b', '1:a', 'a,b', '"', '\n')
    const at = fc.record({ worker: fc.nat(2), values: fc.tuple(label, label) })
    const operation = fc.oneof(
      fc.record({ kind: fc.constant('add' as const), at, by: fc.nat(100) }),
      fc.record({ kind: fc.constant('observe' as const), at, by: fc.nat(12) }),
      fc.record({ kind: fc.constant('enter' as const), at, by: fc.constant(0) }),
      fc.record({ kind: fc.constant('leave' as const), at, by: fc.nat(20) }),
    )
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 200 }), operations => {
        const { reader, writers } = connected({ workers: 3 })
        const labels = ['x', 'y']
        const model = new Map<string, number>()
        const bump = (line: string, by: number) => model.set(line, (model.get(line) ?? 0) + by)
        const members: { leave: () => void; line: string; gone: boolean }[] = []
        for (const { kind, at, by } of operations) {
          const writer = writers[at.worker]!
          const [x, y] = at.values.map(value => value.replace(/"/g, '\\"').replace(/\n/g, '\\n'))
          const text = `x="${x}",y="${y}"`
          if (kind === 'add') {
            writer.counter('c', 'C', labels).add(at.values, by)
            bump(`apisix_c{${text}}`, by)
          } else if (kind === 'observe') {
            writer.histogram('h', 'H', labels, [3, 6]).observe(at.values, by)
            bump(`apisix_h_bucket{${text},le="3"}`, by <= 3 ? 1 : 0)
            bump(`apisix_h_bucket{${text},le="6"}`, by <= 6 ? 1 : 0)
            bump(`apisix_h_bucket{${text},le="+Inf"}`, 1)
            bump(`apisix_h_count{${text}}`, 1)
            bump(`apisix_h_sum{${text}}`, by)
          } else if (kind === 'enter') {
            const line = `apisix_g{${text}}`
            members.push({ leave: writer.liveGauge('g', 'G', labels).enter(at.values), line, gone: false })
            bump(line, 1)
          } else if (members.length > 0) {
            const member = members[by % members.length]!
            member.leave()
            if (!member.gone) bump(member.line, -1)
            member.gone = true
          }
        }
        const page = new Map(
          reader
            .print()
            .split('\n')
            .filter(line => line !== '' && !line.startsWith('#'))
            .map(line => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
        )
        assert.deepEqual(new Map([...page].sort()), new Map([...model].sort()))
      }),
    )
  })
})

describe('metrics of what is gone', () => {
  function pair() {
    const reader = new MetricsReader()
    const metrics = new MetricsWriter({
      publish: series => reader.add(1, series),
      withdraw: series => reader.remove(1, series),
    })
    return { reader, metrics }
  }

  it('are forgotten by label and value, and nothing else is', () => {
    const { reader, metrics } = pair()
    const requests = metrics.counter('requests', 'Requests', ['code', 'route'])
    const latency = metrics.histogram('latency', 'Latency', ['route', 'type'], [1, 2])
    requests.add(['200', 'a'])
    requests.add(['200', 'b'])
    requests.add(['500', 'a'])
    requests.add(['a', 'b'])
    latency.observe(['a', 'x'], 1)
    latency.observe(['b', 'x'], 1)
    metrics.forget(['route', 'route_id'], 'a')
    const page = reader.print()
    assert.ok(!page.includes('route="a"'), page)
    assert.match(page, /apisix_requests\{code="200",route="b"\} 1/)
    assert.match(page, /apisix_requests\{code="a",route="b"\} 1/)
    assert.match(page, /apisix_latency_count\{route="b",type="x"\} 1/)
  })

  it('begin at zero when what they name comes back, whoever had their place meanwhile', () => {
    const { reader, metrics } = pair()
    const requests = metrics.counter('requests', 'Requests', ['route'])
    requests.add(['a'], 5)
    metrics.forget(['route'], 'a')
    requests.add(['c'], 2)
    requests.add(['a'])
    assert.match(reader.print(), /route="a"\} 1/)
    assert.match(reader.print(), /route="c"\} 2/)
  })

  it('begin at zero in the hands of who kept them, too', () => {
    const { reader, metrics } = pair()
    const requests = metrics.counter('requests', 'Requests', ['route'])
    const kept = requests.of(['a'])
    kept.add(5)
    metrics.forget(['route'], 'a')
    requests.add(['b'], 2)
    kept.add()
    assert.match(reader.print(), /route="a"\} 1/)
    assert.match(reader.print(), /route="b"\} 2/)
  })

  it('leave their memory to others: any number of routes may come and go', () => {
    const reader = new MetricsReader()
    const memories = new Set<ArrayBufferLike>()
    let now = 0
    const metrics = new MetricsWriter({
      now: () => now,
      publish(series) {
        memories.add(series.memory.buffer)
        reader.add(1, series)
      },
      withdraw: series => reader.remove(1, series),
    })
    const requests = metrics.counter('requests', 'R', ['route'])
    const latency = metrics.histogram('latency', 'L', ['type', 'route'], [1, 2, 3, 4, 5])
    for (let route = 0; route < 5_000; route++) {
      requests.add([`r${route}`])
      latency.observe(['request', `r${route}`], route % 7)
      metrics.forget(['route'], `r${route}`)
      now += 100
    }
    assert.equal(memories.size, 1)
    assert.equal(reader.print(), '')
  })

  it('show nothing of others while main has not heard that they are gone', () => {
    const reader = new MetricsReader()
    const said: (() => void)[] = []
    const metrics = new MetricsWriter({
      publish: series => reader.add(1, series),
      withdraw: series => said.push(() => reader.remove(1, series)),
    })
    const requests = metrics.counter('requests', 'R', ['route'])
    requests.add(['a'], 5)
    metrics.forget(['route'], 'a')
    requests.add(['b'], 2)
    assert.match(reader.print(), /^apisix_requests\{route="a"\} 5$/m)
    for (const hear of said) hear()
    assert.doesNotMatch(reader.print(), /route="a"/)
  })

  it('stay while something is live in them', () => {
    const { reader, metrics } = pair()
    const live = metrics.liveGauge('live', 'Live', ['route'])
    const leave = live.enter(['a'])
    metrics.forget(['route'], 'a')
    assert.match(reader.print(), /route="a"\} 1/)
    leave()
    assert.match(reader.print(), /route="a"\} 0/)
    metrics.forget(['route'], 'a')
    assert.equal(reader.print(), '')
  })
})
