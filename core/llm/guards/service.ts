// A service that judges texts: asked within bounds, its faults in words that may be shown; knows no service.
import { UpstreamError, type UpstreamFault } from '../../errors.ts'
import type { Errand, Sidecar, Wisher } from '../sidecar.ts'
import { parsed } from '../whole-body.ts'

/** The service has not said what it thinks. The message may be logged and shown: nothing that was sent or said is in it. */
export class ServiceError extends Error {}

/** What a service says about a text is short. */
export const MAX_ANSWER = 1024 * 1024

const words: Readonly<Record<UpstreamFault, string>> = {
  refused: 'connection refused',
  denied: 'its address is one to which nothing may be sent',
  connect_timeout: 'timeout',
  send_timeout: 'timeout',
  headers_timeout: 'timeout',
  first_content_timeout: 'timeout',
  idle_timeout: 'timeout',
  total_timeout: 'timeout',
  reset: 'connection closed',
  malformed: 'what it answers is no HTTP',
  too_large: `its answer is larger than ${MAX_ANSWER} bytes`,
  no_node: 'no address',
}

/** What it has answered says nothing: that is counted as its failure. */
export function useless(sidecar: Sidecar, message: string): ServiceError {
  sidecar.failed('malformed')
  return new ServiceError(message)
}

export interface ServiceAnswer {
  readonly status: number
  /** Undefined for what is no JSON. */
  readonly json: unknown
}

/** Rejects with ServiceError, or with what `wisher` was aborted with. */
export async function askService(sidecar: Sidecar, wisher: Wisher, errand: Errand): Promise<ServiceAnswer> {
  try {
    const { status, body } = await sidecar.ask(wisher, errand)
    return { status, json: parsed(body) }
  } catch (error) {
    throw error instanceof UpstreamError ? new ServiceError(words[error.fault], { cause: error }) : error
  }
}
