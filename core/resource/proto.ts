// Protos (facts core 3.11): definitions for transcoding gRPC; schema, and whether the content can be one. Nothing is compiled.
import type { Schema } from '../plugin.ts'
import { described } from './attributes.ts'
import type { Definition } from './definition.ts'

const schema: Schema = {
  type: 'object',
  properties: { ...described, content: { type: 'string', minLength: 1, maxLength: 1_048_576 } },
  required: ['content'],
  additionalProperties: false,
}

export const proto: Definition = {
  schema,
  problem({ content }) {
    const text = content as string
    const wrong = /^[A-Za-z0-9+/=\s]+$/.test(text) ? descriptorProblem(Buffer.from(text, 'base64')) : textProblem(text)
    return wrong && `invalid content: ${wrong}`
  },
}

/** The outermost structure of a `.proto` file: statements, and definitions with balanced braces. */
function textProblem(text: string): string | undefined {
  const form = /\s+|\/\/.*|\/\*[\s\S]*?\*\/|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[\w.]+|[^\s\w"']|["']/g
  let [depth, statement, line] = [0, '', 1]
  for (const [token] of text.matchAll(form)) {
    const fail = () => `line ${line}: unexpected ${token}`
    if (token === '"' || token === "'") return fail()
    if (/^\s|^\/[/*]/.test(token)) line += token.split('\n').length - 1
    else if (token === '{') {
      if (depth++ === 0 && !/^(message|enum|service|extend|option) /.test(statement)) return fail()
    } else if (token === '}') {
      if (--depth < 0) return fail()
      if (depth === 0 && !statement.startsWith('option ')) statement = ''
    } else if (depth === 0 && token === ';') {
      if (!/^(((syntax|edition|package|import|option) .*)|)$/.test(statement)) return fail()
      statement = ''
    } else if (depth === 0) {
      if (statement === '' && !/^[a-z]+$/.test(token)) return fail()
      statement += `${token} `
    }
  }
  return depth > 0 || statement !== '' ? `line ${line}: the file ends in the middle of a definition` : undefined
}

/** Whether the bytes are a FileDescriptorSet: files, each behind the tag of field 1 and its length. */
function descriptorProblem(bytes: Buffer): string | undefined {
  const none = 'neither a .proto file nor a descriptor set in base64'
  let at = 0
  while (at < bytes.length) {
    if (bytes[at++] !== 0x0a) return none
    let [length, shift, more] = [0, 0, true]
    while (more) {
      const byte = bytes[at++]
      if (byte === undefined || shift > 28) return none
      length += (byte & 0x7f) * 2 ** shift
      shift += 7
      more = byte >= 0x80
    }
    at += length
  }
  return at === bytes.length && at > 0 ? undefined : none
}
