// Secrets that a test plants and looks for in everything that comes out, in whatever form they come; knows no gateway.
import { randomBytes } from 'node:crypto'

export class Plants {
  readonly #cores = new Map<string, string>()

  /**
   * A secret that is found again: letters and digits that stand nowhere else, between characters that are written in other
   * ways in URLs, in JSON and in HTML. `plain` leaves those out.
   */
  secret(name: string, plain = false): string {
    const core = randomBytes(18)
      .toString('hex')
      .replace(/[a-f]/g, digit => 'ghJkMp'['abcdef'.indexOf(digit)]!)
    this.#cores.set(name, core)
    return plain ? core : `~+/${core}"<&`
  }

  /** Somebody else's secret, such as a private key: some text of it that stands nowhere else. */
  known(name: string, core: string): void {
    this.#cores.set(name, core)
  }

  /** Names of secrets that are in `text`, or a good part of them, in clear, in any base64 or in hexadecimal digits. */
  foundIn(text: string): string[] {
    const lower = text.toLowerCase()
    const found = [...this.#cores].filter(([, core]) => {
      const parts = [core.slice(0, 12), core.slice(12, 24), core.slice(-12)]
      return (
        parts.some(part => lower.includes(part.toLowerCase())) ||
        lower.includes(Buffer.from(core).toString('hex')) ||
        aligned(core).some(form => text.includes(form))
      )
    })
    return found.map(([name]) => name)
  }
}

/** What base64 makes of it wherever it begins; the digits at both ends depend on what stands beside it. */
function aligned(core: string): string[] {
  return [0, 1, 2].map(shift =>
    Buffer.from('x'.repeat(shift) + core)
      .toString('base64')
      .slice(shift + 1, -4),
  )
}
