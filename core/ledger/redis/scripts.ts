// What Redis does as one step: take, and end or renew a ticket. The arithmetic is that of count.ts, in Lua 5.1.
import { createHash } from 'node:crypto'

export interface Script {
  readonly text: string
  readonly sha: string
}

// KEYS: a hash with the numbers of a key and what each ticket has reserved ('-': it has ended), and its tickets by when their
// lease is over. ARGV: now in milliseconds ('': Redis's own clock), kind, limit, window in ms or rate per second, ticket ('':
// none), lease in ms; then what the script is about.
const BEGIN = `
local numbers, tickets = KEYS[1], KEYS[2]
local kind, most, size, ticket, lease = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local function number(text) return tonumber(text) or 0 end
local function text(value) return string.format('%.17g', value) end
local read = redis.call('HMGET', numbers, 'used', 'before', 'at', 'until', 'reserved')
local used, before, at, over, reserved = number(read[1]), number(read[2]), number(read[3]), number(read[4]), number(read[5])
for _, lapsed in ipairs(redis.call('ZRANGEBYSCORE', tickets, '-inf', now, 'LIMIT', 0, 1000)) do
  reserved = reserved - number(redis.call('HGET', numbers, 't' .. lapsed))
  redis.call('HDEL', numbers, 't' .. lapsed)
  redis.call('ZREM', tickets, lapsed)
end

local bottom = kind == 'leaky_bucket' and -1 or 0
local function roll()
  if kind == 'fixed_window' then
    if now >= over then
      used = 0
      over = now + size
    elseif over > now + size then
      over = now + size
    end
  elseif kind == 'sliding_window' then
    local window = math.floor(now / size)
    if at ~= window then
      before = at == window - 1 and used or 0
      used = 0
      at = window
      over = (window + 2) * size
    end
  elseif kind == 'token_bucket' or kind == 'leaky_bucket' then
    used = math.max(bottom, used - math.max(0, now - at) * size / 1000)
    at = now
  end
end
local function charge(amount)
  if kind == 'slots' then return end
  used = used + amount
  if kind == 'token_bucket' or kind == 'leaky_bucket' then over = now + (used - bottom) / size * 1000 end
end
local function hold(value)
  redis.call('HSET', numbers, 't' .. ticket, value)
  redis.call('ZADD', tickets, now + lease, ticket)
end
local function write()
  redis.call('HSET', numbers, 'used', text(used), 'before', text(before), 'at', text(at), 'until', text(over), 'reserved', text(reserved))
  local last = redis.call('ZRANGE', tickets, -1, -1, 'WITHSCORES')
  local rest = math.ceil(math.max(over, number(last[2])) - now) + 1000
  if kind == 'balance' then return end
  if last[2] then redis.call('PEXPIRE', tickets, rest) end
  redis.call('PEXPIRE', numbers, rest)
end
`

/** More: amount, need. Answers `allowed`, `now` and the numbers; nothing for a ticket that has ended before it came to be. */
export const TAKE = script(`${BEGIN}
local amount, need = tonumber(ARGV[7]), tonumber(ARGV[8])
if ticket ~= '' and redis.call('HGET', numbers, 't' .. ticket) then return false end
roll()
local taken = used + reserved + need
local wanted = taken
local allowed
if kind == 'sliding_window' then
  wanted = taken + before * (1 - (now % size) / size)
  allowed = taken <= most and wanted < most + 1
elseif kind == 'token_bucket' or kind == 'leaky_bucket' then
  allowed = wanted <= most + 1e-9
else
  allowed = wanted <= most
end
allowed = allowed or need == 0
if allowed and ticket ~= '' then
  if amount > 0 then
    reserved = reserved + amount
    hold(text(amount))
  end
elseif allowed then
  charge(amount)
end
write()
return { allowed and '1' or '0', text(now), text(used), text(before), text(at), text(over), text(reserved) }
`)

/** More: settle, release or renew; and the amount that was used or, to renew, reserved. What has ended is not ended again. */
export const END = script(`${BEGIN}
local what, amount = ARGV[7], tonumber(ARGV[8])
local held = redis.call('HGET', numbers, 't' .. ticket)
if held == '-' then return 0 end
if what == 'renew' then
  if not held then reserved = reserved + amount end
  hold(text(amount))
else
  reserved = reserved - number(held)
  hold('-')
  if what == 'settle' then
    roll()
    charge(amount)
  end
end
write()
return 1
`)

function script(text: string): Script {
  return { text, sha: createHash('sha1').update(text).digest('hex') }
}
