// Tells that much of a budget is spent: a line of the log, and a post to a webhook; knows not why or how often.
import type { LookupFunction } from 'node:net'
import { Backlog, nothingWaits } from '../observe/backlog.ts'
import { Batches } from '../observe/batches.ts'
import { HttpSink } from '../observe/http-sink.ts'
import type { Logger } from '../observe/log.ts'
import { lostEntries } from '../observe/lost-entries.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { Reached } from './books.ts'
import type { Alerts } from './metadata.ts'

export interface AnnouncerOptions {
  log: Logger
  metrics: Metrics
  lookup: LookupFunction | undefined
  now(): number
  random(): number
  /** Milliseconds before a post is tried again, at first. */
  retryDelayMs?: number
}

type Webhook = NonNullable<Alerts['webhook']>

/** Of webhooks that configurations have named. */
const MOST_WEBHOOKS = 8
/** Posts that wait, for all of them. */
const MOST_WAITING = 1_000
const RETRIES = 5
const RETRY_DELAY_MS = 1_000
const PLUGIN = 'ai-budget'

export class Announcer {
  readonly #options: AnnouncerOptions
  readonly #waiting = nothingWaits()
  readonly #posts = new Map<string, Batches>()

  constructor(options: AnnouncerOptions) {
    this.#options = options
  }

  /** Never waits. */
  announce({ threshold, view }: Reached, { webhook }: Alerts): void {
    const { log, now } = this.#options
    const event = { event: 'budget_threshold', threshold, at: new Date(now()).toISOString(), ...view }
    log.warn({ plugin: PLUGIN, ...event }, 'a threshold of a budget is reached')
    if (webhook === undefined) return
    const text = JSON.stringify(event)
    this.#postsTo(webhook).write(bytes => bytes.raw(text))
  }

  /** Sends what is left, for seconds. */
  async close(): Promise<void> {
    await Promise.all([...this.#posts.values()].map(posts => posts.close()))
  }

  #postsTo(webhook: Webhook): Batches {
    const { uri, auth_header, timeout, ssl_verify } = webhook
    // Of the whole object JSON shows no secrets, and they tell webhooks apart.
    const name = JSON.stringify([uri, auth_header, timeout, ssl_verify])
    const known = this.#posts.get(name)
    if (known !== undefined) return known
    for (const [old, posts] of this.#posts) {
      if (this.#posts.size < MOST_WEBHOOKS) break
      this.#posts.delete(old)
      void posts.close()
    }
    const posts = this.#open(webhook)
    this.#posts.set(name, posts)
    return posts
  }

  #open({ uri, auth_header, timeout, ssl_verify }: Webhook): Batches {
    const { log, metrics, lookup, random, retryDelayMs = RETRY_DELAY_MS } = this.#options
    return new Batches({
      name: 'webhook of budgets',
      plugin: PLUGIN,
      owner: {},
      sink: new HttpSink({
        urls: [uri],
        headers: {
          'Content-Type': 'application/json',
          ...(auth_header !== undefined && { Authorization: auth_header }),
        },
        timeoutMs: timeout * 1000,
        verify: ssl_verify,
        lookup,
        random,
      }),
      // A post each: whoever hears of one need not take a list apart.
      framing: { begin: '', between: '', end: '' },
      maxEntries: 1,
      enoughBytes: 1,
      inactiveMs: 0,
      durationMs: 0,
      retries: RETRIES,
      retryDelayMs,
      backlog: new Backlog({
        plugin: PLUGIN,
        waiting: this.#waiting,
        maxEntries: MOST_WAITING,
        lost: lostEntries(metrics, PLUGIN),
        log,
      }),
      log,
      pending() {},
    })
  }
}
