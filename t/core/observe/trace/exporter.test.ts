// Spans on their way to collectors that are slow, dead or lying: requests do not notice, and what is lost is counted.
import assert from 'node:assert/strict'
import { type Collector, startCollector } from '../../../helpers/collector.ts'
import { startGateway, type TestGateway } from '../../../helpers/gateway.ts'
import { until } from '../../../helpers/until.ts'
import { type ScriptedUpstream, startUpstream } from '../../../helpers/upstream.ts'

describe('spans on their way to a collector', () => {
  let upstream: ScriptedUpstream
  let collector: Collector
  let gateway: TestGateway

  beforeEach(async () => {
    upstream = await startUpstream()
    collector = await startCollector()
  })
  afterEach(async () => {
    await gateway.close()
    await collector.close()
    await upstream.close()
  })

  async function start(batch: object, address = `127.0.0.1:${collector.port}`, routes = 1): Promise<void> {
    const plugins = { opentelemetry: { sampler: { name: 'always_on' } } }
    const route = (n: number) => ({
      uri: `/${n}`,
      plugins,
      upstream: { type: 'roundrobin', nodes: upstream.nodes },
    })
    gateway = await startGateway({
      resources: {
        routes: Object.fromEntries(Array.from({ length: routes }, (_, n) => [n, route(n)])),
        plugin_metadata: {
          opentelemetry: {
            collector: { address, request_timeout: 30 },
            batch_span_processor: { inactive_timeout: 0.02, batch_timeout: 0.05, ...batch },
          },
        },
      },
    })
    assert.deepEqual(gateway.rejected, [])
  }

  const ask = async (times: number, route = 0) => {
    for (let n = 0; n < times; n++) assert.equal((await fetch(`${gateway.url}/${route}`)).status, 200)
  }
  const scraped = (series: string) => Number(new RegExp(`^${series} (\\S+)$`, 'm').exec(gateway.scrape())?.[1] ?? 0)
  const dropped = (reason: string) => scraped(`sluice_spans_dropped_total\\{reason="${reason}"\\}`)

  it('share one queue and one connection, whatever routes they are of', async () => {
    await start({}, undefined, 4)
    for (let route = 0; route < 4; route++) await ask(2, route)
    await until(() => collector.spans.length === 16, 'all spans have come')
    assert.equal(collector.openConnections(), 1)
    await until(() => scraped('sluice_spans_waiting') === 0, 'none of them waits any more')
  })

  it('go in batches of the size that is configured', async () => {
    await start({ max_export_batch_size: 3, inactive_timeout: 60, batch_timeout: 60 })
    await ask(3)
    await until(() => collector.spans.length === 6, 'two full batches have come')
    assert.equal(collector.received.length, 2)
  })

  it('are dropped and counted when too many wait for a collector that answers nothing, and nobody waits with them', async () => {
    let release: () => void = () => {}
    const held = new Promise<void>(resolve => {
      release = resolve
    })
    collector.answer = async received => {
      await held
      received.json(200, {})
    }
    await start({ max_queue_size: 10, max_export_batch_size: 2 })
    await ask(50)
    // The last of them log after they have been answered.
    await until(() => dropped('queue_full') === 90, 'all others were dropped')
    assert.equal(scraped('sluice_spans_waiting'), 10)
    release()
    await until(() => scraped('sluice_spans_waiting') === 0, 'what waited has been sent')
    assert.equal(collector.spans.length, 10)
    await ask(1)
    await until(() => collector.spans.length === 12, 'spans come again')
  })

  it('are sent again to a collector that says later, and not to one that says no', async () => {
    const statuses = [429, 200, 400]
    collector.answer = received => received.json(statuses[collector.received.length - 1] ?? 200, {})
    await start({})
    await ask(1)
    await until(() => collector.received.length === 2 && scraped('sluice_spans_waiting') === 0, 'the batch was taken')
    assert.equal(collector.received.length, 2)
    assert.equal(dropped('refused') + dropped('failed'), 0)
    await ask(1)
    await until(() => dropped('refused') === 2, 'the other was refused')
    assert.equal(collector.received.length, 3)
  })

  it('are counted where a collector has refused some, but no more than it was sent', async () => {
    const lies = ['1', 1e15, -5, 'many', null]
    collector.answer = received =>
      received.json(200, { partialSuccess: { rejectedSpans: lies[collector.received.length - 1] } })
    await start({})
    for (const expected of [1, 3, 3, 3, 3]) {
      const batches = collector.received.length
      await ask(1)
      await until(() => collector.received.length > batches && scraped('sluice_spans_waiting') === 0, 'it was answered')
      assert.equal(dropped('refused'), expected)
    }
  })

  it('survive collectors that speak no HTTP, no JSON, or without end', async () => {
    collector.answer = received => {
      if (collector.received.length === 1) return received.lie('not HTTP at all\r\n\r\n')
      if (collector.received.length === 2) return received.response.end('{"partialSuccess":')
      received.response.writeHead(200)
      const flood = () => {
        while (!received.response.destroyed && received.response.write(Buffer.alloc(65_536)));
      }
      received.response.on('drain', flood)
      flood()
    }
    await start({})
    await ask(1)
    await until(() => collector.received.length === 2, 'it was sent again')
    await until(() => scraped('sluice_spans_waiting') === 0, 'it was taken')
    await ask(1)
    await until(() => scraped('sluice_spans_waiting') === 0, 'what came was enough')
    assert.equal(dropped('failed') + dropped('refused'), 0)
  })

  it('are sent when the gateway ends, before it has', async () => {
    await start({ inactive_timeout: 60, batch_timeout: 60 })
    await ask(3)
    assert.equal(collector.spans.length, 0)
    await gateway.close()
    assert.equal(collector.spans.length, 6)
  })

  it('go to the collector that the metadata name now, and the old one gets what was for it', async () => {
    const other = await startCollector()
    await start({ inactive_timeout: 60, batch_timeout: 60 })
    await ask(1)
    await gateway.put({ plugin_metadata: { opentelemetry: { collector: { address: `127.0.0.1:${other.port}` } } } })
    await ask(1)
    await until(() => collector.spans.length === 2, 'the old one has been told')
    await gateway.close()
    assert.equal(other.spans.length, 2)
    await other.close()
  })
})
