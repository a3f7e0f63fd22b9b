// A gateway in a process of its own that serves what it is told and says what it holds: for soaks.
import { collectGarbage } from '../core/garbage.ts'
import { startGateway, type TestGateway } from './helpers/gateway.ts'

export type Order =
  | { readonly do: 'start' }
  | { readonly do: 'put'; readonly resources: Parameters<TestGateway['put']>[0] }
  | { readonly do: 'look' }
  | { readonly do: 'close' }

export interface Held {
  /** Bytes of JavaScript and its buffers, without garbage. */
  readonly used: number
  /** Bytes. */
  readonly resident: number
  readonly inFlight: number
  /** Sockets and timers that keep the process alive. */
  readonly sockets: number
  readonly timers: number
  /** Kinds of holds that somebody has, or whose books are wrong. */
  readonly holds: readonly string[]
}

let gateway: TestGateway | undefined

process.on('message', (order: Order) => {
  if (order.do === 'close') void gateway?.close().then(() => process.disconnect?.())
  else void obey(order).then(answer => process.send?.(answer))
})

async function obey(order: Exclude<Order, { do: 'close' }>): Promise<unknown> {
  if (order.do === 'start') {
    gateway = await startGateway()
    return gateway.url
  }
  if (order.do === 'look') return look(gateway!)
  await gateway!.put(order.resources)
  return gateway!.rejected
}

function look({ gateway, book }: TestGateway): Held {
  collectGarbage()
  const { heapUsed, external, rss } = process.memoryUsage()
  const active = process.getActiveResourcesInfo()
  const count = (of: RegExp) => active.filter(name => of.test(name)).length
  const wrong = Object.entries(book.totals()).filter(
    ([, { opened, settled, released, live }]) => live > 0 || opened !== settled + released + live,
  )
  return {
    used: heapUsed + external,
    resident: rss,
    inFlight: gateway.inFlight,
    sockets: count(/^TCPSocketWrap$/),
    timers: count(/^Timeout$/),
    holds: wrong.map(([kind]) => kind),
  }
}
