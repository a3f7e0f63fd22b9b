// What an answer says of itself, as far as it is kept: a provider's texts are no longer than they must be; knows no protocol.

export interface Said {
  readonly id: string | undefined
  /** The model that has answered, by the provider's own name for it. */
  readonly model: string | undefined
  /** Why it ended, in the provider's words: one for each choice. */
  readonly finishReasons: readonly string[]
}

const MAX_TEXT = 256
const MAX_REASONS = 128

const nothing: Said = { id: undefined, model: undefined, finishReasons: [] }

/** `said` with more of it: what is known of id and model stays, reasons are added. What is no text is passed over. */
export function saidMore(
  said: Said | undefined,
  more: { readonly id?: unknown; readonly model?: unknown; readonly reasons?: readonly unknown[] },
): Said {
  const { id, model, finishReasons } = said ?? nothing
  const reasons = (more.reasons ?? []).flatMap(reason => text(reason) ?? [])
  return {
    id: id ?? text(more.id),
    model: model ?? text(more.model),
    finishReasons: reasons.length === 0 ? finishReasons : [...finishReasons, ...reasons].slice(0, MAX_REASONS),
  }
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value.slice(0, MAX_TEXT) : undefined
}
