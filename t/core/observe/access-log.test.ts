// Lines of the access log as they are queued.
import assert from 'node:assert/strict'
import { AccessLog } from '../../../core/observe/access-log.ts'
import { JsonBytes } from '../../../core/observe/json-bytes.ts'
import { compileLine } from '../../../core/observe/line-template.ts'
import type { Put } from '../../../core/observe/logger.ts'
import { makeContext } from '../../helpers/context.ts'

describe('a line of the access log', () => {
  const lines: string[] = []
  const file = {
    write(put: Put) {
      const line = new JsonBytes(16)
      put(line)
      lines.push(line.written().toString())
    },
    close: async () => {},
  }
  const open = (format: string) => {
    lines.length = 0
    return new AccessLog(file, compileLine(format, 'default'), () => 0)
  }

  it('has the time at which its own request has ended', async () => {
    const log = open('$time_local')
    const second = 1_700_000_000_000
    for (const now of [second, second + 1_000, second + 1_500, second]) {
      const ctx = await makeContext({ now })
      ctx.ending = 'complete'
      ctx.endTick = ctx.startTick + 100
      log.record(ctx)
    }
    const [first, next, same, again] = lines.map(line => Date.parse(line.replaceAll('/', ' ').replace(':', ' ')) / 1000)
    assert.deepEqual(
      [first, next, same, again],
      [0, 1, 1, 0].map(more => second / 1000 + more),
    )
  })

  it('tells who sent what was no request', () => {
    open('$remote_addr "$request" $status $http_host').refused({ status: 431, client: '::ffff:10.0.0.1' })
    assert.deepEqual(lines, ['10.0.0.1 "" 431 -'])
  })
})
