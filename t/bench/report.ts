// The numbers of a run as tables for people; measures nothing.
import { arch, cpus, release, type } from 'node:os'
import type { MemoryResult } from './memory-phase.ts'
import type { Cost, Latency } from './rounds.ts'
import type { Spread } from './statistics.ts'
import { STREAMS, type StreamResult } from './stream-phase.ts'
import { CONCURRENCY, type UnaryResult } from './unary-phase.ts'
import { ANSWER, BODY, EVENT, EVENTS, INTERVAL_MS } from './workload.ts'

export interface Report {
  readonly machine: Machine
  readonly seconds: number
  readonly unary: readonly UnaryResult[]
  readonly streams: readonly StreamResult[]
  readonly memory: readonly MemoryResult[]
}

export interface Machine {
  readonly cores: number
  readonly model: string
  readonly system: string
  readonly node: string
  readonly pinning: string
}

export function machine(pinning: string): Machine {
  const processors = cpus()
  return {
    cores: processors.length,
    model: processors[0]?.model ?? 'unknown',
    system: `${type()} ${release()} ${arch()}`,
    node: process.version,
    pinning,
  }
}

export function printed({ machine: on, seconds, unary, streams, memory }: Report): string {
  return [
    `${on.cores} cores (${on.model}), ${on.system}, Node ${on.node}; ${on.pinning}; ${Math.round(seconds)} s`,
    'CPU is that of the quietest fifth of the slices, "x" times the floor\'s, both the median over the starts; median and min-max are',
    'of all slices. "+" is more than the direct call of the same round took, in microseconds. Only ratios of one run can be compared.',
    '',
    `Whole answers: ${BODY} B in, ${ANSWER} B out, ${CONCURRENCY} at a time${slices(unary)}`,
    table(
      [
        '',
        ...costHead('CPU us/request'),
        'requests/s',
        'p50 at 64',
        '+',
        'p99 at 64',
        '+',
        'p50 at 1',
        '+',
        'p99 at 1',
        '+',
      ],
      unary.map(row => [
        row.name,
        ...costCells(row.cost),
        whole(row.requestsPerSecond),
        ...[row.at64.p50, row.at64.p99, row.at1.p50, row.at1.p99].flatMap(latencyCells),
      ]),
    ),
    '',
    `Streams: ${STREAMS} of ${EVENTS} events of ${EVENT} B, ${INTERVAL_MS} ms apart${slices(streams)}`,
    table(
      ['', ...costHead('CPU us/event'), 'first p50', '+', 'first p99', '+', 'delay p50', '+', 'delay p99', '+'],
      streams.map(row => [
        row.name,
        ...costCells(row.cost),
        ...[row.first.p50, row.first.p99, row.delay.p50, row.delay.p99].flatMap(latencyCells),
      ]),
    ),
    '',
    'Memory, in fresh processes',
    table(
      ['', 'MB resident', 'KB/open stream', 'min-max', 'MB/100,000 requests', 'over'],
      memory.map(({ name, resident, perOpenStream, growth }) => [
        name,
        (resident / 1e6).toFixed(1),
        (perOpenStream.median / 1e3).toFixed(1),
        range(perOpenStream, value => value / 1e3),
        growth.requests < 100_000 ? 'too few' : (growth.bytesPer100000 / 1e6).toFixed(2),
        `${growth.requests / 1e3}k: ${(growth.first / 1e6).toFixed(1)} -> ${(growth.last / 1e6).toFixed(1)} MB`,
      ]),
    ),
  ].join('\n')
}

function slices(rows: readonly { cost: Cost | undefined }[]): string {
  const cost = rows.find(row => row.cost !== undefined)?.cost
  return cost === undefined ? '' : `; ${cost.spread.slices} slices each, in ${cost.timesFloorByStart.length} start(s)`
}

function costHead(what: string): string[] {
  return [what, 'median', 'min-max', 'x', 'by start']
}

function costCells(cost: Cost | undefined): string[] {
  if (cost === undefined) return ['', '', '', '', '']
  const { quiet, spread, timesFloor, timesFloorByStart } = cost
  return [
    quiet.toFixed(1),
    spread.median.toFixed(1),
    range(spread, value => value),
    timesFloor.toFixed(2),
    timesFloorByStart.map(times => times.toFixed(2)).join(' '),
  ]
}

function latencyCells({ total, added }: Latency): string[] {
  return [whole(total), `${added < 0 ? '' : '+'}${whole(added)}`]
}

function range({ min, max }: Spread, scale: (value: number) => number): string {
  return `${scale(min).toFixed(1)}-${scale(max).toFixed(1)}`
}

function whole(value: number): string {
  return String(Math.round(value))
}

/** Columns as wide as they need to be; the first to the left, numbers to the right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...lines.map(line => line[column]!.length)))
  return lines
    .map(line => line.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!))).join('  '))
    .join('\n')
}
