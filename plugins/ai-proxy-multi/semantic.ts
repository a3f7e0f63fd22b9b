// Who is asked by what the client wants: the instance whose examples are likest to it (facts ai-plugins 7.6); knows no answer.
import type { Context } from '../../core/context.ts'
import { clientBody } from '../../core/llm/client-body.ts'
import type { Candidate, Exchange } from '../../core/llm/exchange.ts'
import { protocolNamed } from '../../core/llm/protocols/detect.ts'
import type { Logger } from '../../core/observe/log.ts'
import type { Env } from '../../core/plugin.ts'
import type { Config } from './config.ts'
import { Embeddings } from './embeddings.ts'
import type { Instance } from './instances.ts'
import { closest, EmbeddingError, type Vector } from './vectors.ts'

/** An instance with what it is for. */
interface Known {
  readonly instance: Instance
  readonly examples: readonly string[]
  readonly threshold: number
}

interface Scored extends Known {
  readonly score: number
}

/** `picked` is undefined when none was like enough; `scores` when they could not be found out. */
export interface Choice {
  readonly instance: Instance
  readonly picked: Instance | undefined
  /** Highest first. */
  readonly scores: readonly Scored[] | undefined
}

/** What is looked at of a message. */
const MAX_QUERY = 16_384

export class SemanticChoice {
  readonly #known: readonly Known[]
  readonly #fallback: Instance
  readonly #embeddings: Embeddings
  readonly #log: Logger
  /** Of the examples of each instance, once somebody has asked; equal texts mean the same as long as the config lives. */
  #references: Promise<readonly Vector[][]> | undefined

  /** `instances` are those of the config, in its order. */
  constructor(config: Config, instances: readonly Instance[], env: Env) {
    const { embeddings, threshold = 0, fallback } = config.semantic_opts!
    this.#known = instances.map((instance, at) => {
      const { examples = [], threshold: own = threshold } = config.instances[at]!
      return { instance, examples, threshold: own }
    })
    this.#fallback = instances.find(({ name }) => name === fallback) ?? instances[0]!
    this.#embeddings = new Embeddings(embeddings, env)
    this.#log = env.log
  }

  /** Never fails but with ClientGone: where meaning cannot be found out, the fallback is asked. */
  async choose(ctx: Context, call: Exchange): Promise<Choice> {
    const unscored: Choice = { instance: this.#fallback, picked: undefined, scores: undefined }
    const query = await this.#query(ctx, call)
    if (query === undefined) return this.#fallBack(ctx, unscored, 'no user message found')
    let scores: Scored[]
    try {
      scores = await this.#score(ctx, query)
    } catch (error) {
      if (!(error instanceof EmbeddingError)) throw error
      return this.#fallBack(ctx, unscored, error.message)
    }
    const picked = scores.find(({ score, threshold }) => score >= threshold)?.instance
    if (picked !== undefined) return { instance: picked, picked, scores }
    const said = scores.map(({ instance, score }) => `${instance.name}:${score.toFixed(4)}`).join(', ')
    return this.#fallBack(ctx, { ...unscored, scores }, `no instance cleared threshold (scores: ${said})`)
  }

  /** Who could have been asked, with scores. */
  candidates({ instance: chosen, scores }: Choice): Candidate[] {
    const known: readonly (Known & { score?: number })[] = scores ?? this.#known
    return known.map(({ instance, threshold, score }) => ({
      instance: instance.name,
      priority: instance.node.priority,
      weight: instance.node.weight,
      score,
      skipped: instance === chosen ? undefined : skipped(score, threshold),
    }))
  }

  async #query(ctx: Context, call: Exchange): Promise<string | undefined> {
    const { json } = await clientBody(ctx)
    const messages = json === undefined ? [] : (protocolNamed(call.protocol)?.messages(json) ?? [])
    const text = messages.findLast(({ role, content }) => role === 'user' && content !== '')?.content
    return text && firstBytes(text, MAX_QUERY)
  }

  async #score(ctx: Context, query: string): Promise<Scored[]> {
    const references = await this.#ofExamples()
    let vector: Vector
    try {
      vector = (await this.#embeddings.of([query], ctx))[0]!
    } catch (error) {
      throw error instanceof EmbeddingError ? new EmbeddingError(`query embedding failed: ${error.message}`) : error
    }
    try {
      return this.#known
        .map((known, at) => ({ ...known, score: closest(vector, references[at]!) ?? -1 }))
        .sort((a, b) => b.score - a.score)
    } catch (error) {
      // Somebody has put another model in the place of the one that the examples were shown to.
      this.#references = undefined
      throw error
    }
  }

  /** One request for all of them, whoever asks meanwhile. A failure is not kept. */
  #ofExamples(): Promise<readonly Vector[][]> {
    this.#references ??= this.#embed().catch((error: unknown) => {
      this.#references = undefined
      if (!(error instanceof EmbeddingError)) throw error
      throw new EmbeddingError(`failed to fetch reference embeddings: ${error.message}`)
    })
    return this.#references
  }

  async #embed(): Promise<Vector[][]> {
    const vectors = (await this.#embeddings.of(this.#known.flatMap(({ examples }) => examples))).values()
    return this.#known.map(({ examples }) => examples.map(() => vectors.next().value!))
  }

  #fallBack(ctx: Context, choice: Choice, why: string): Choice {
    this.#log.warn({ route: ctx.route?.id, request_id: ctx.id }, `semantic routing: ${why}, falling back`)
    return choice
  }
}

/** What `semantic_opts.debugging` shows of a choice; nothing where there are no scores. */
export function debugFields({ picked, scores }: Choice): [name: string, value: string][] {
  if (scores === undefined) return []
  const shown = (name: string) => name.replace(/[^\x20-\x7e]/g, '?')
  const list = scores.map(({ instance, score }) => `${shown(instance.name)}:${score.toFixed(4)}`).join(',')
  return [
    ['X-AI-Semantic-Scores', list],
    ['X-AI-Semantic-Picked-Instance', picked === undefined ? 'fallback' : shown(picked.name)],
  ]
}

function skipped(score: number | undefined, threshold: number): string {
  if (score === undefined) return 'not the fallback'
  return score < threshold ? 'below its threshold' : 'lower score'
}

/** At most so many bytes of UTF-8, cut at a character's end. */
function firstBytes(text: string, most: number): string {
  if (text.length * 3 <= most) return text
  return text.slice(0, new TextEncoder().encodeInto(text, new Uint8Array(most)).read)
}
