// Header fields of an Anthropic client for a provider that speaks OpenAI's protocol (facts ai-plugins 4.4).

/** A flat list of names and values, without what only Anthropic knows; its key becomes a bearer's where there is none yet. */
export function openaiHeaders(fields: readonly string[]): string[] {
  const kept: string[] = []
  let key = ''
  let authorized = false
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at]!.toLowerCase()
    if (name === 'x-api-key') key ||= fields[at + 1]!
    else if (!name.startsWith('anthropic-') && !name.startsWith('x-stainless-')) {
      kept.push(fields[at]!, fields[at + 1]!)
      authorized ||= name === 'authorization'
    }
  }
  if (key !== '' && !authorized) kept.push('authorization', `Bearer ${key}`)
  return kept
}
