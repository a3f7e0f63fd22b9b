// What upstreams share in a test: everything in this thread, and no name server but a test's own.
import { type LocalUpstreams, type LocalUpstreamsOptions, localUpstreams } from '../../core/local-upstreams.ts'
import { silent } from '../../core/observe/log.ts'

/** `dns` are options of the resolver of names, which knows only the hosts file without servers of a test's own. */
export function upstreamEnv({ dns, ...given }: Partial<LocalUpstreamsOptions> = {}): LocalUpstreams {
  return localUpstreams({
    log: silent,
    dns: { servers: ['127.0.0.1:9'], timeoutMs: 1_000, search: false, ...dns },
    ...given,
  })
}
