// The Prometheus page where public-api exposes it (facts core 8.3.13, 8.3.31); knows not who prints it.
import { asError } from '../errors.ts'
import type { Endpoint } from '../plugin.ts'
import { HeaderList, type Sink, type Source } from '../reply.ts'
import { PROMETHEUS_TEXT } from './prometheus-text.ts'

/** GET at that path answers with what `open` gives, not faster than the client reads it. */
export function pageEndpoint(path: string, open: () => AsyncIterable<string>): Endpoint {
  return {
    methods: ['GET'],
    path,
    answer: () => ({
      status: 200,
      headers: new HeaderList(['Content-Type', PROMETHEUS_TEXT]),
      body: new Pulled(open()[Symbol.asyncIterator]()),
      source: 'gateway',
    }),
  }
}

/** Pushes what it pulls. */
class Pulled implements Source {
  readonly #texts: AsyncIterator<string>
  #paused: Promise<void> | undefined
  #resume: () => void = () => {}
  #cancelled = false

  constructor(texts: AsyncIterator<string>) {
    this.#texts = texts
  }

  pipe(sink: Sink): void {
    void this.#run(sink)
  }

  pause(): void {
    this.#paused ??= new Promise(resolve => {
      this.#resume = resolve
    })
  }

  resume(): void {
    this.#paused = undefined
    this.#resume()
  }

  cancel(): void {
    this.#cancelled = true
    this.resume()
    void this.#texts.return?.()
  }

  async #run(sink: Sink): Promise<void> {
    try {
      while (!this.#cancelled) {
        const { done, value } = await this.#texts.next()
        if (this.#cancelled) return
        if (done) return sink.end()
        sink.write(Buffer.from(value))
        await this.#paused
      }
    } catch (error) {
      if (!this.#cancelled) sink.fail(asError(error))
    }
  }
}
