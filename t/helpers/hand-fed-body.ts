// The body of an answer that whoever holds it feeds, without a socket.
import type { AnswerBody } from '../../core/proxy/transport.ts'
import type { Sink } from '../../core/reply.ts'

/** `provider` writes to whoever the body was piped to. */
export function handFedBody(): { body: AnswerBody; readonly provider: Sink } {
  let provider: Sink | undefined
  const body: AnswerBody = {
    whole: () => undefined,
    pipe: sink => {
      provider = sink
    },
    pause() {},
    resume() {},
    cancel() {},
    contentSeen() {},
  }
  return {
    body,
    get provider() {
      return provider!
    },
  }
}
