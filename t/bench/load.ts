// The load generator's process: does one job after the other; knows not who is asked.
import { Connections } from './load/connection.ts'
import { hold } from './load/hold.ts'
import type { Job } from './load/job.ts'
import { runStreams } from './load/streams.ts'
import { runTransfer } from './load/transfer.ts'
import { runUnary } from './load/unary.ts'
import { ready, type Said } from './peer.ts'

const connections = new Connections()

async function run(job: Job): Promise<unknown> {
  switch (job.do) {
    case 'unary':
      return await runUnary(connections, job)
    case 'streams':
      return await runStreams(connections, job)
    case 'hold':
      return await hold(connections, job)
    case 'transfer':
      return await runTransfer(connections, job)
    case 'close':
      return connections.closeAll()
  }
}

process.on('message', (job: Job) => {
  run(job).then(
    result => process.send!({ result } satisfies Said),
    error => process.send!({ error: (error as Error).message } satisfies Said),
  )
})
ready(0)
