// The process that killRounds kills: writes as fast as it can and reports every acknowledged write; never ends by itself.
import { writeSync } from 'node:fs'
import { silent } from '../../../core/observe/log.ts'
import { openEmbedded } from '../../../core/store/embedded.ts'
import { nthWrite } from './kill.ts'

const [path, done] = process.argv.slice(2)
const store = openEmbedded({ path: path!, log: silent })
// Synchronous: a report is out of this process before it can die.
writeSync(1, 'open\n')
for (const [writer, written] of (JSON.parse(done!) as number[]).entries()) void write(writer, written)

async function write(writer: number, written: number): Promise<never> {
  for (let n = written + 1; ; n++) {
    const revision = await store.write(nthWrite(writer, n))
    writeSync(1, `${writer} ${n} ${revision}\n`)
  }
}
