// A fleet of three gateways on three nodes of etcd loses one of each: nobody else notices. The soak has a minute of it.
import { assertUnharmed, fleetRound } from './fleet.rounds.ts'

describe('a fleet on etcd', function () {
  this.timeout(600_000)

  it('serves on and takes edits when a gateway and a node of etcd die, and serves the last edit everywhere', async () => {
    assertUnharmed(await fleetRound(1, { seconds: 4, editsPerSecond: 20, workers: 1 }))
  })
})
