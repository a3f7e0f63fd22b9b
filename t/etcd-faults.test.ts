// Some of what can happen to etcd, each time anew; `npm run soak -- etcd-faults` has all of it, thirty rounds.
import { assertHeld, faultRounds } from './etcd-faults.rounds.ts'

/** Those that take a few seconds at most; every kind of them. */
const brief = [
  'kill -9 of the leader',
  'compaction past the watch revision',
  'cut between created and replay',
  'cut within a fragment',
  'answers lost',
  'wiped data',
]

describe('a gateway on an etcd cluster that everything happens to', function () {
  this.timeout(600_000)

  it('has what etcd has after each fault; loses no write, goes back to no revision, fails no request', async () => {
    assertHeld(await faultRounds(brief.length, 1, { named: brief, last: 300 }))
  })
})
