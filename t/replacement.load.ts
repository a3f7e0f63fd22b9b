// What a planned replacement of all workers loses under keep-alive load; run small by the tests and large by the soak.
import { connect, type Socket } from 'node:net'
import { configFolder, startProcess } from './helpers/process.ts'
import { until } from './helpers/until.ts'
import { startUpstream } from './helpers/upstream.ts'

export interface ReplacementReport {
  connections: number
  workers: number
  /** Answers, from the first connection on. */
  served: number
  /** Connections that an answer ended in good order, so that their client opened another. */
  moved: number
  /** Connections that were refused, or ended without the answer to what had been asked. */
  lost: number
  /** New connections that took longer than `LATE_MS`. */
  late: number
  /** From the order to the last connection of an old worker. */
  ms: number
}

// The kernel lets a client whose connection there is no place for try again after a second.
const LATE_MS = 900
const WORKERS = 2
const BEGIN_AT_ONCE = 100

/**
 * Keeps that many connections, on which requests are sent now and then, `perSecond` of them all together; replaces all
 * workers, and goes on until every connection has moved to a new one.
 */
export async function replaceUnderLoad(connections: number, perSecond: number): Promise<ReplacementReport> {
  const report: ReplacementReport = { connections, workers: WORKERS, served: 0, moved: 0, lost: 0, late: 0, ms: 0 }
  const upstream = await startUpstream()
  const gateway = await startProcess(configFolder(), undefined, { APISIX_WORKER_PROCESSES: String(WORKERS) })
  const port = Number(new URL(gateway.urls.requests).port)
  const meanPause = (connections * 1_000) / perSecond
  let over = false

  /** Asks until an answer ends the connection. Resolves with whether one did; `answered` is called for each. */
  async function stay(answered: () => void): Promise<boolean> {
    const client = new Client(port)
    try {
      for (;;) {
        const answer = await client.ask()
        if (client.connectedMs > LATE_MS) report.late++
        client.connectedMs = 0
        report.served++
        answered()
        if (/\r\nConnection: close\r\n/i.test(answer)) return true
        await pause(Math.random() * 2 * meanPause)
        if (over) return false
      }
    } catch {
      if (!over) report.lost++
      return false
    } finally {
      client.close()
    }
  }
  async function come(answered: () => void): Promise<void> {
    while (!over) if (await stay(answered)) report.moved++
  }

  try {
    await gateway.admin('PUT', '/routes/1', { uri: '/*', upstream: { nodes: { [`127.0.0.1:${upstream.port}`]: 1 } } })
    for (let begun = 0; begun < connections; begun += BEGIN_AT_ONCE) {
      const firstAnswers = Array.from({ length: Math.min(BEGIN_AT_ONCE, connections - begun) }, () => {
        return new Promise<void>(resolve => void come(resolve))
      })
      await Promise.all(firstAnswers)
    }
    const ordered = performance.now()
    gateway.child.kill('SIGHUP')
    const page = async () => (await fetch(`${gateway.urls.prometheus}/apisix/prometheus/metrics`)).text()
    const replaced = `sluice_worker_replacements_total{reason="planned",plugin=""} ${WORKERS}`
    await until(async () => (await page()).includes(replaced), 'every worker is a new one', 120_000)
    await until(() => report.moved + report.lost >= connections, 'every connection has moved', 20 * meanPause + 60_000)
    report.ms = Math.round(performance.now() - ordered)
  } finally {
    over = true
    await gateway.dispose()
    await upstream.close()
  }
  return { ...report }
}

/** One keep-alive connection with one request at a time. */
class Client {
  /** Milliseconds until it was connected. */
  connectedMs = 0
  readonly #socket: Socket
  #received = ''
  #waiting: PromiseWithResolvers<string> | undefined

  constructor(port: number) {
    const began = performance.now()
    this.#socket = connect(port, '127.0.0.1').setNoDelay().setEncoding('latin1')
    this.#socket.on('connect', () => {
      this.connectedMs = performance.now() - began
    })
    this.#socket.on('data', (text: string) => {
      this.#received += text
      if (this.#received.endsWith('{"ok":true}')) this.#waiting?.resolve(this.#received)
    })
    this.#socket.on('error', () => {})
    this.#socket.on('close', () => this.#waiting?.reject(new Error('closed')))
  }

  /** Resolves with the answer. */
  ask(): Promise<string> {
    this.#received = ''
    this.#waiting = Promise.withResolvers()
    if (this.#socket.destroyed) this.#waiting.reject(new Error('closed'))
    else this.#socket.write('GET /x HTTP/1.1\r\nHost: a\r\n\r\n')
    return this.#waiting.promise
  }

  close(): void {
    this.#socket.destroy()
  }
}

const pause = (ms: number) => new Promise<void>(resolve => setTimeout(resolve, ms))
