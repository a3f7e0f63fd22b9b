// What was spent, refused and not priced, as metrics (facts metering 4); knows no account.
import type { Context } from '../../core/context.ts'
import type { Usage } from '../../core/llm/exchange.ts'
import type { Counter, Metrics } from '../../core/observe/metrics.ts'

const NANO = 1e9

export class SpendMetrics {
  readonly #tokens: Counter
  readonly #prompt: Counter
  readonly #completion: Counter
  readonly #money: Counter
  readonly #refused: Counter
  readonly #unpriced: Counter

  constructor(metrics: Metrics) {
    // Both are named by the configuration: there are no more than it has.
    const who = ['consumer', 'credential']
    this.#tokens = metrics.counter('sluice_spend_tokens_total', 'Tokens that were charged to budgets', who)
    this.#prompt = metrics.counter('sluice_spend_prompt_tokens_total', 'Of these, tokens of prompts', who)
    this.#completion = metrics.counter('sluice_spend_completion_tokens_total', 'Of these, tokens of answers', who)
    this.#money = metrics.counter('sluice_spend_money_total', 'Money that these tokens cost', [...who, 'currency'])
    this.#refused = metrics.counter(
      'sluice_budget_refused_total',
      'Requests for which, or for all of which, a budget did not pay',
      ['budget', 'mode'],
    )
    this.#unpriced = metrics.counter('sluice_budget_unpriced_total', 'Requests for models without a price', [
      'route_id',
    ])
  }

  /** `all`: with what came from caches or went into one, wherever the provider counts it. */
  spent({ consumer }: Context, { prompt, completion }: Usage, all: number): void {
    const who = [consumer?.username ?? '', consumer?.credentialId ?? '']
    this.#tokens.add(who, all)
    this.#prompt.add(who, prompt)
    this.#completion.add(who, completion)
  }

  paid({ consumer }: Context, nano: number, currency: string): void {
    this.#money.add([consumer?.username ?? '', consumer?.credentialId ?? '', currency], nano / NANO)
  }

  /** `shadow`: it would have been refused; `stopped`: its stream was ended. */
  refused(budget: string, mode: 'enforce' | 'shadow' | 'stopped'): void {
    this.#refused.add([budget, mode])
  }

  unpriced({ route }: Context): void {
    this.#unpriced.add([route?.id ?? ''])
  }
}
