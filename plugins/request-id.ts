// request-id: gives a request an id that upstream, client and logs know it by (facts core 8.3.14).
import { randomBytes, randomInt, randomUUID } from 'node:crypto'
import { slot } from '../core/context.ts'
import { plugin } from '../core/plugin.ts'

// APISIX's own, without J and with two G.
const CHARACTERS = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIGKLMNOPQRSTUVWXYZ0123456789'
// Of a header field; a config could ask for more than a head may hold.
const MAX_LENGTH = 1_024

const given = slot<string>()

export default plugin({
  name: 'request-id',
  priority: 12015,
  version: 0.1,
  schema: {
    type: 'object',
    properties: {
      header_name: { type: 'string', default: 'X-Request-Id' },
      include_in_response: { type: 'boolean', default: true },
      algorithm: { type: 'string', enum: ['uuid', 'nanoid', 'range_id', 'ksuid', 'uuidv7'], default: 'uuid' },
      range_id: {
        type: 'object',
        properties: {
          length: { type: 'integer', minimum: 6, default: 16 },
          char_set: { type: 'string', minLength: 6, default: CHARACTERS },
        },
        default: {},
      },
    },
  },
  check({ header_name, range_id }) {
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(header_name)) return 'header_name is no name of a header field'
    if (range_id.length > MAX_LENGTH) return `range_id.length is at most ${MAX_LENGTH}`
    return /^[ -~]*$/.test(range_id.char_set) ? undefined : 'range_id.char_set can only have printable ASCII characters'
  },
  setup({ header_name, include_in_response, algorithm, range_id }, { now }) {
    const make = {
      uuid: randomUUID,
      uuidv7: () => uuidv7(now()),
      nanoid,
      ksuid: () => ksuid(now()),
      range_id: () => drawn(range_id.char_set, range_id.length),
    }[algorithm]
    return {
      rewrite(ctx) {
        const { headers } = ctx.request
        const id = headers.get(header_name) || make()
        headers.set(header_name, id)
        given.set(ctx, id)
        ctx.id = id
      },
      header_filter(ctx, reply) {
        const id = given.get(ctx)
        if (include_in_response && id !== undefined && !reply.headers.has(header_name))
          reply.headers.set(header_name, id)
      },
    }
  },
})

function drawn(characters: string, length: number): string {
  let id = ''
  for (let n = 0; n < length; n++) id += characters[randomInt(characters.length)]
  return id
}

/** 21 characters of 64 that may stand in a URL. */
function nanoid(): string {
  return randomBytes(16).toString('base64url').slice(0, 21)
}

/** RFC 9562 5.7: milliseconds, then chance. */
function uuidv7(ms: number): string {
  const bytes = randomBytes(16)
  bytes.writeUIntBE(ms, 0, 6)
  bytes[6] = (bytes[6]! & 0x0f) | 0x70
  bytes[8] = (bytes[8]! & 0x3f) | 0x80
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}

const BASE_62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const KSUID_EPOCH_S = 1_400_000_000

/** Seconds since 2014 in four bytes, then sixteen of chance, as 27 digits of base 62 that sort by time. */
function ksuid(ms: number): string {
  const bytes = Buffer.concat([Buffer.alloc(4), randomBytes(16)])
  bytes.writeUInt32BE(Math.floor(ms / 1000) - KSUID_EPOCH_S)
  let rest = BigInt(`0x${bytes.toString('hex')}`)
  let id = ''
  for (let n = 0; n < 27; n++) {
    id = BASE_62[Number(rest % 62n)] + id
    rest /= 62n
  }
  return id
}
