// Questions to a worker that have no answer yet: each gets its answer, or none in time; knows no question.

/** Undefined where nobody answered in time. */
export type Answered<A> = { readonly answer: A } | undefined

export class Inquiries<A> {
  readonly #waiting = new Map<number, (answered: Answered<A>) => void>()
  #asked = 0

  /** Has `send` ask under a number. Resolves with what `answered` is told of it within that time. */
  ask(send: (number: number) => void, withinMs: number): Promise<Answered<A>> {
    const number = this.#asked++
    return new Promise(resolve => {
      const timer = setTimeout(() => this.#end(number, undefined), withinMs)
      this.#waiting.set(number, answered => {
        clearTimeout(timer)
        resolve(answered)
      })
      send(number)
    })
  }

  answered(number: number, answer: A): void {
    this.#end(number, { answer })
  }

  /** Nobody will answer any more. */
  close(): void {
    for (const number of [...this.#waiting.keys()]) this.#end(number, undefined)
  }

  #end(number: number, answered: Answered<A>): void {
    const end = this.#waiting.get(number)
    this.#waiting.delete(number)
    end?.(answered)
  }
}
