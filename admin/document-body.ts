// A configuration document as the body of a request (facts core 4.9, 5.4), in JSON or YAML; knows nothing of what it says.
import type { Context } from 'koa'
import { asError } from '../core/errors.ts'
import { isObject } from '../core/schema.ts'
import { parseJson, parseYaml } from '../core/standalone/text.ts'
import { refuse } from './answer.ts'
import { readText } from './request-body.ts'

/** Some hundred thousand routes; beyond it, who sends it is mistaken. */
export const maxDocumentBytes = 64 * 1024 * 1024

/** Throws 400 when there is none, it is too long, or it is no object. */
export async function readDocumentBody(ctx: Context): Promise<Readonly<Record<string, unknown>>> {
  const text = await readText(ctx.req, maxDocumentBytes)
  if (text.trim() === '') throw refuse(400, 'invalid request body: empty request body')
  const value = isYaml(ctx.get('Content-Type')) ? await yaml(text) : json(text)
  if (!isObject(value)) throw refuse(400, 'invalid request body: expected an object of collections')
  return value
}

/** Whether a media type, or one of those in an Accept field, is YAML. */
export function isYaml(field: string): boolean {
  return /\b(application|text)\/(x-)?yaml\b/i.test(field)
}

async function yaml(text: string): Promise<unknown> {
  try {
    return (await parseYaml(name, text)).value
  } catch (error) {
    throw refuse(400, `invalid yaml request body: ${inWords(error)}`)
  }
}

function json(text: string): unknown {
  try {
    return parseJson(name, text).value
  } catch (error) {
    throw refuse(400, `invalid request body: ${inWords(error)}`)
  }
}

const name = 'body'

function inWords(error: unknown): string {
  return asError(error).message.replace(/^body:(\d+): /, 'line $1: ')
}
