// How risky a moderation service has found a request or its answer, for logs and other plugins (facts ai-plugins 18.1).
import { slot } from '../../context.ts'

/** The order in which levels are risky (facts ai-plugins 15.3). */
const LEVELS: readonly unknown[] = ['none', 'low', 'medium', 'high', 'max']

/** `llm_content_risk_level`: undefined while nobody has looked. */
export const riskLevel = slot<string>()

/** Whether a level reaches a bar; one that nobody knows never does. */
export function reaches(level: string, bar: string): boolean {
  return LEVELS.includes(level) && LEVELS.indexOf(level) >= LEVELS.indexOf(bar)
}

/** The riskier of two. */
export function riskier(one: string | undefined, other: string): string {
  return one !== undefined && LEVELS.indexOf(one) > LEVELS.indexOf(other) ? one : other
}
