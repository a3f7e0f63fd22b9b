// The log lines of health checks, in the words that operators of APISIX grep for (facts core 6.6).
import type { Logger } from '../../observe/log.ts'
import type { Target } from './board.ts'
import { countOf, type Sign, statusOf } from './state.ts'

const WORDS: Readonly<Record<Sign, string>> = {
  success: 'healthy SUCCESS',
  http: 'unhealthy HTTP',
  tcp: 'unhealthy TCP',
  timeout: 'unhealthy TIMEOUT',
}

/** One line for a sign that was counted, and one when the target has become usable or unusable. */
export function reportSign(
  log: Logger,
  { ip, port, hostname }: Target,
  { sign, limit, before, after }: { sign: Sign; limit: number; before: number; after: number },
): void {
  if (before === after) return
  const who = `'${hostname}(${ip}:${port})'`
  log.warn({}, `${WORDS[sign]} increment (${countOf(after, sign)}/${limit}) for ${who}`)
  const [was, is] = [statusOf(before), statusOf(after)]
  if (was !== is && (is === 'healthy' || is === 'unhealthy')) log.warn({}, `${who} is ${is} now; it was ${was}`)
}
