// What is sent and answered in a bench run, the same for every contender; knows no process and no socket.

/** Bytes of a request's body and of a whole answer's. */
export const BODY = 1_024
export const ANSWER = 582
/** Bytes of one event, and how a stream is made of them. */
export const EVENT = 225
export const EVENTS = 50
export const INTERVAL_MS = 20
/** The consumer's key; who does not ask for one gets it all the same, so that every head is the same. */
export const KEY = 'a-key-for-the-bench'

/** A chat request of POSTED bytes, whole answers both; GOT bytes are answered to a GET. */
export const POSTED = 16 * 1_024
export const GOT = 1_024

/**
 * Chosen by the method, or by the model that a request names: a whole answer, a stream, or a stream that stays open after its
 * first event.
 */
export type Kind = 'unary' | 'stream' | 'hold' | 'get' | 'post'

/** A contender's address for one kind of route. */
export interface Target {
  readonly host: string
  readonly port: number
  readonly path: string
}

export function targetOf(url: string): Target {
  const { hostname, port, pathname, search } = new URL(url)
  return { host: hostname, port: Number(port || 80), path: pathname + search }
}

/** A GET, or a chat request with a body of exactly BODY or POSTED bytes. */
export function requestOf({ host, port, path }: Target, kind: Kind): Buffer {
  if (kind === 'get') {
    return Buffer.from(`GET ${path} HTTP/1.1\r\nHost: ${host}:${port}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n`)
  }
  const whole = kind === 'unary' || kind === 'post'
  const size = kind === 'post' ? POSTED : BODY
  const chat = (content: string) =>
    `{"model":"${whole ? 'unary' : kind}","stream":${!whole},"messages":[{"role":"user","content":"${content}"}]}`
  const body = chat('Please say what a gateway does. '.repeat(size / 32).slice(0, size - chat('').length))
  const head = [
    `POST ${path} HTTP/1.1`,
    `Host: ${host}:${port}`,
    'User-Agent: bench',
    'Accept: application/json',
    'Content-Type: application/json',
    `Content-Length: ${body.length}`,
    `apikey: ${KEY}`,
  ]
  return Buffer.from(`${head.join('\r\n')}\r\n\r\n${body}`)
}

const usage = '"usage":{"prompt_tokens":213,"completion_tokens":78,"total_tokens":291}'

/** A completion of exactly ANSWER bytes. */
export function answer(): string {
  const whole = (content: string) =>
    `{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"mock","choices":[{"index":0,"message":{"role":"assistant","content":"${content}"},"finish_reason":"stop"}],${usage}}`
  return whole('It stands between those who ask and those who answer. '.repeat(10).slice(0, ANSWER - whole('').length))
}

/** Where in an event the time of its sending stands, and how many digits it has: microseconds of the machine's clock. */
export const STAMP = '"content":"'
export const STAMP_DIGITS = 16

const EVENT_TAIL = '"},"logprobs":null,"finish_reason":null}]}\n\n'
const EVENT_HEAD = eventHead()

function eventHead(): string {
  const head = (fingerprint: string) =>
    `data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"mock","system_fingerprint":"${fingerprint}","choices":[{"index":0,"delta":{${STAMP}`
  return head('fp_'.padEnd(EVENT - head('').length - STAMP_DIGITS - EVENT_TAIL.length, '0'))
}

/** An event of exactly EVENT bytes. */
export function eventAt(micros: number): string {
  return EVENT_HEAD + String(micros).padStart(STAMP_DIGITS, '0') + EVENT_TAIL
}

/** What follows the last event. */
export const STREAM_END = `data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"mock","choices":[],${usage}}\n\ndata: [DONE]\n\n`

/** Whole microseconds of CLOCK_MONOTONIC, which all processes of a machine share. */
export function micros(): number {
  const [seconds, nanos] = process.hrtime()
  return seconds * 1e6 + Math.floor(nanos / 1e3)
}
