// What plugins import as `sluice`: everything that core offers to them, and nothing else.
export type {
  Attempt,
  Consumer,
  ConsumerIndex,
  Context,
  Ending,
  Outbound,
  RouteFacts,
  Slot,
  Upstream,
} from './context.ts'
export { slot } from './context.ts'
export { ClientGone, GatewayError, UpstreamError, type UpstreamFault } from './errors.ts'
export type { Hold, HoldEnd } from './holds.ts'
export { type Ledger, LedgerError, type Limit, type Taken, type Ticket, type Wish } from './ledger/ledger.ts'
export { type AnswerEvent, Denied, type EventFilter, Refused, type Verdict } from './llm/answer-event.ts'
export { type Exchange, exchange, type Usage } from './llm/exchange.ts'
export type { AnswerPiece, Refusal, TextPlace } from './llm/protocols/protocol.ts'
export { type TextEdit, textFilter } from './llm/text-filter.ts'
export { markCredentials } from './observe/credentials.ts'
export type { Logger } from './observe/log.ts'
export type { Counter, Gauge, Histogram, LiveGauge, Metrics } from './observe/metrics.ts'
export {
  type Awaitable,
  type Endpoint,
  type EndpointEnv,
  type Env,
  type Hooks,
  type Infer,
  type Owner,
  type Plugin,
  type PluginSpec,
  plugin,
  type Schema,
  type TurnHook,
} from './plugin.ts'
export type { Answer, Call, Clocks, Transport } from './proxy/transport.ts'
export { discard, type Filter, HeaderList, type Reply, readAll, reply, type Sink, type Source } from './reply.ts'
export { compileExpr } from './router/expr.ts'
export { variable } from './router/vars.ts'
