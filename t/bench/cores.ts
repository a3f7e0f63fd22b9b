// Who runs where: the gateways on one core, everybody else on the others; knows no contender.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

export interface Cores {
  /** As taskset takes them; undefined when nothing can be pinned. */
  readonly gateways: string | undefined
  readonly others: string | undefined
  readonly said: string
}

/** Pins this process, and with it what it starts, to the cores that are not the gateways'. */
export function pinOurselves(): Cores {
  const free = (said: string): Cores => ({ gateways: undefined, others: undefined, said: `not pinned: ${said}` })
  const allowed = allowedCores()
  if (allowed.length < 2) return free('needs Linux and two cores')
  const [gateways, ...rest] = allowed.map(String)
  const others = rest.join(',')
  const { status } = spawnSync('taskset', ['-a', '-cp', others, String(process.pid)])
  if (status !== 0) return free('there is no taskset (util-linux)')
  return { gateways, others, said: `pinned: gateways on core ${gateways}, mock and load on ${others}` }
}

/** The command, to be run on those cores. The process keeps its id: taskset becomes it. */
export function onCores(cores: string | undefined, command: [string, ...string[]]): [string, ...string[]] {
  return cores === undefined ? command : ['taskset', '-c', cores, ...command]
}

function allowedCores(): number[] {
  try {
    const [, list = ''] = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
    return list.split(',').flatMap(range => {
      const [first = 0, last = first] = range.split('-').map(Number)
      return Array.from({ length: last - first + 1 }, (_, at) => first + at)
    })
  } catch {
    return []
  }
}
