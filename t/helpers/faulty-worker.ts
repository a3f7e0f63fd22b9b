// A worker that fails when a request tells it to, by the end of its path, and signs its answers.
import { threadId, workerData } from 'node:worker_threads'
import { plugin } from '../../core/plugin.ts'
import { reply } from '../../core/reply.ts'
import type { Birth } from '../../core/workers/messages.ts'
import { builtins } from '../../plugins/index.ts'

const { shared, id } = workerData as Birth

const fault = plugin({
  name: 'fault',
  priority: 1,
  version: 0.1,
  schema: { type: 'object' },
  setup: () => ({
    header_filter: (_ctx, { headers }) => headers.set('X-Worker', String(threadId)),
    access(ctx) {
      ctx.hold('fault', () => {})
      switch (ctx.request.path.split('/').at(-1)) {
        case 'throw':
          setImmediate(() => {
            throw new Error('thrown outside any request')
          })
          return reply(200, 'about to throw')
        case 'reject':
          void Promise.reject(new Error('rejected outside any request'))
          return reply(200, 'rejected')
        case 'toil':
          for (const began = performance.now(); performance.now() - began < 100; ) Math.random()
          return reply(200, 'tired')
        case 'spin':
          for (;;) Math.random()
        case 'exit':
          // With every lock in its hand.
          for (const table of [shared.cursors, shared.latencies, shared.loads.table])
            Atomics.store(new Int32Array(table), 0, id + 1)
          return process.exit(3)
        case 'eat': {
          const eaten: unknown[] = []
          setInterval(() => eaten.push(new Array(1_000_000).fill(Math.random())), 1)
          return reply(200, 'about to eat')
        }
        default:
          return undefined
      }
    },
  }),
})
;(builtins as unknown[]).push(fault)
await import('../../core/worker.ts')
