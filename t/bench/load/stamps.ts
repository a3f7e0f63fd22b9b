// Finds the times that the mock wrote into its events, at any cut; knows no event.
import { STAMP, STAMP_DIGITS } from '../workload.ts'

const WHOLE = STAMP.length + STAMP_DIGITS

export class Stamps {
  /** The end of the last read, in which a stamp may have begun. */
  #rest = ''
  /** The chunked body has ended. */
  ended = false

  /** Calls `found` with the time in every event that this read completed. */
  feed(text: string, found: (sent: number) => void): void {
    const all = this.#rest + text
    let from = 0
    for (;;) {
      const at = all.indexOf(STAMP, from)
      if (at < 0 || at + WHOLE > all.length) break
      from = at + WHOLE
      found(Number(all.slice(at + STAMP.length, from)))
    }
    this.#rest = all.slice(Math.max(from, all.length - WHOLE + 1))
    this.ended = all.endsWith('\r\n0\r\n\r\n')
  }
}
