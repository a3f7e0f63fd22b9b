// What tests of plugins import as `sluice/testing`: a gateway in the test's process, and an upstream that does as it is told.

/**
 * `startGateway({ plugins, resources })` serves routes on a free port: `url`, `put(resources)` to change them, `rejected` for
 * what is wrong with them, `scrape()` for the metrics, `close()`.
 */
export { type GatewayOptionsForTest, type Resources, startGateway, type TestGateway } from './helpers/gateway.ts'
/** `until(condition, what)`: tests wait for a condition, not for a time. */
export { until } from './helpers/until.ts'
/** `startUpstream(script)` answers, streams, stalls and cuts; `received` is what came, `nodes` what a route is given. */
export { type Received, type ScriptedUpstream, startUpstream } from './helpers/upstream.ts'
