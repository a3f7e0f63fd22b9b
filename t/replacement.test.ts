// Planned replacement of all workers, under keep-alive load.
import assert from 'node:assert/strict'
import { replaceUnderLoad } from './replacement.load.ts'

describe('a planned replacement of all workers', function () {
  this.timeout(300_000)

  it('moves every connection and loses at most one per worker that was not accepted yet', async () => {
    const report = await replaceUnderLoad(200, 400)
    assert.ok(report.moved >= 200 - report.workers, JSON.stringify(report))
    assert.ok(report.lost <= report.workers, JSON.stringify(report))
  })
})
