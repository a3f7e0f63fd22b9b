// What Redis does as one step: take, of one key or several, end or renew a ticket, look, adjust. The arithmetic is that of count.ts, in Lua 5.1.
import { createHash } from 'node:crypto'

export interface Script {
  readonly text: string
  readonly sha: string
}

// KEYS, two for each key of the ledger: a hash with its numbers and what each ticket has reserved ('-': it has ended), and its
// tickets by when their lease is over. ARGV: now in milliseconds ('': Redis's own clock), ticket ('': none), lease in ms; then
// for each key its kind, limit, and window in ms, rate per second or end in ms, with what the script does to it (`EACH`).
const BEGIN = `
local ticket, lease = ARGV[2], tonumber(ARGV[3])
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local function number(text) return tonumber(text) or 0 end
local function text(value) return string.format('%.17g', value) end

local function read(place, from)
  local c = { hash = KEYS[2 * place - 1], tickets = KEYS[2 * place], kind = ARGV[from], size = tonumber(ARGV[from + 2]) }
  local found = redis.call('HMGET', c.hash, 'used', 'before', 'at', 'until', 'reserved')
  c.used, c.before, c.at, c.over, c.reserved = number(found[1]), number(found[2]), number(found[3]), number(found[4]), number(found[5])
  for _, lapsed in ipairs(redis.call('ZRANGEBYSCORE', c.tickets, '-inf', now, 'LIMIT', 0, 1000)) do
    c.reserved = c.reserved - number(redis.call('HGET', c.hash, 't' .. lapsed))
    redis.call('HDEL', c.hash, 't' .. lapsed)
    redis.call('ZREM', c.tickets, lapsed)
    -- At once: whoever only looks, or comes too late, writes nothing.
    redis.call('HSET', c.hash, 'reserved', text(c.reserved))
  end
  c.isBucket = c.kind == 'token_bucket' or c.kind == 'leaky_bucket'
  c.isLasting = c.kind == 'balance' or c.kind == 'period'
  c.bottom = c.kind == 'leaky_bucket' and -1 or 0
  c.most = tonumber(ARGV[from + 1]) + (c.isLasting and c.before or 0)
  return c
end
local function roll(c)
  if c.kind == 'fixed_window' then
    if now >= c.over then
      c.used = 0
      c.over = now + c.size
    elseif c.over > now + c.size then
      c.over = now + c.size
    end
  elseif c.kind == 'sliding_window' then
    local window = math.floor(now / c.size)
    if c.at ~= window then
      c.before = c.at == window - 1 and c.used or 0
      c.used = 0
      c.at = window
      c.over = (window + 2) * c.size
    end
  elseif c.isBucket then
    c.used = math.max(c.bottom, c.used - math.max(0, now - c.at) * c.size / 1000)
    c.at = now
  elseif c.kind == 'period' then
    c.over = c.size
  end
end
local function charge(c, amount)
  if c.kind == 'slots' then return end
  c.used = c.used + amount
  if c.isBucket then c.over = now + (c.used - c.bottom) / c.size * 1000 end
end
local function hold(c, value)
  redis.call('HSET', c.hash, 't' .. ticket, value)
  redis.call('ZADD', c.tickets, now + lease, ticket)
end
local function write(c)
  redis.call('HSET', c.hash, 'used', text(c.used), 'before', text(c.before), 'at', text(c.at), 'until', text(c.over), 'reserved', text(c.reserved))
  local last = redis.call('ZRANGE', c.tickets, -1, -1, 'WITHSCORES')
  -- When a period ends the gateways say: an hour for clocks that do not agree.
  local rest = math.ceil(math.max(c.over, number(last[2])) - now) + (c.kind == 'period' and 3600000 or 1000)
  if c.kind == 'balance' then return end
  if last[2] then redis.call('PEXPIRE', c.tickets, rest) end
  redis.call('PEXPIRE', c.hash, rest)
end
`
const EACH_BEGINS = 4

/**
 * Of each key: amount, need, and whether it `holds` until the ticket ends, `takes` for good or `looks`. Answers `allowed` and `now`, then for each key
 * whether there was room, and its numbers; nothing for a ticket that has ended before it came to be.
 */
export const TAKE = script(`${BEGIN}
local EACH = 6
local all, allowed = {}, true
for place = 1, #KEYS / 2 do
  local from = ${EACH_BEGINS} + (place - 1) * EACH
  local c = read(place, from)
  all[place] = c
  c.amount, c.need = tonumber(ARGV[from + 3]), tonumber(ARGV[from + 4])
  c.holds, c.looks = ARGV[from + 5] == 'holds', ARGV[from + 5] == 'looks'
  if c.holds and redis.call('HGET', c.hash, 't' .. ticket) then return false end
  roll(c)
  local taken = c.used + c.reserved + c.need
  if c.kind == 'sliding_window' then
    local wanted = taken + c.before * (1 - (now % c.size) / c.size)
    c.allowed = taken <= c.most and wanted < c.most + 1
  else
    c.allowed = taken <= c.most + (c.isBucket and 1e-9 or 0)
  end
  c.allowed = c.allowed or c.need == 0
  allowed = allowed and c.allowed
end
local answer = { allowed and '1' or '0', text(now) }
for place, c in ipairs(all) do
  if allowed and c.holds then
    if c.amount > 0 then
      c.reserved = c.reserved + c.amount
      hold(c, text(c.amount))
    end
  elseif allowed then
    charge(c, c.amount)
  end
  if not c.looks then write(c) end
  for _, value in ipairs({ c.allowed and 1 or 0, c.used, c.before, c.at, c.over, c.reserved }) do
    table.insert(answer, text(value))
  end
end
return answer
`)

/** Of the one key: settle, release or renew; and the amount that was used or, to renew, reserved. What has ended is not ended again. */
export const END = script(`${BEGIN}
local c = read(1, ${EACH_BEGINS})
local what, amount = ARGV[${EACH_BEGINS + 3}], tonumber(ARGV[${EACH_BEGINS + 4}])
local held = redis.call('HGET', c.hash, 't' .. ticket)
if held == '-' then return 0 end
if what == 'renew' then
  if not held then c.reserved = c.reserved + amount end
  hold(c, text(amount))
else
  c.reserved = c.reserved - number(held)
  hold(c, '-')
  if what == 'settle' then
    roll(c)
    charge(c, amount)
  end
end
write(c)
return 1
`)

/** Of the one key, which is changed unless `what` is '': used or granted, and by how much, or to how much. Answers used, reserved, granted. */
export const ADJUST = script(`${BEGIN}
local c = read(1, ${EACH_BEGINS})
local what, by, to = ARGV[${EACH_BEGINS + 3}], number(ARGV[${EACH_BEGINS + 4}]), tonumber(ARGV[${EACH_BEGINS + 5}])
roll(c)
if what == 'used' then
  charge(c, math.max(0, to or c.used + by) - c.used)
elseif what == 'granted' then
  c.before = math.max(0, to or c.before + by)
end
if what ~= '' then write(c) end
return { text(math.max(0, c.used)), text(c.reserved), text(c.isLasting and c.before or 0) }
`)

function script(text: string): Script {
  return { text, sha: createHash('sha1').update(text).digest('hex') }
}
