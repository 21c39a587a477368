-- One limit of many sidecars. KEYS: what is left of its rates, who holds a place of it.
-- ARGV: what to do; requests a minute; tokens a minute; places (0: no limit); how long a place is kept, ms; requests; tokens; places...
--   take: one request of so many tokens, and a place for it. Answers 0, or which limit has no room and for how long.
--   give: so many requests and tokens were not used (below 0: more than was taken), the place is free.
--   keep: so many requests and tokens were used without asking; these places are in use.
-- A rate is a smooth bucket, as core/src/limits/bucket.rs has it: it refills by the microsecond, holds a tenth of a minute's
-- worth (one at the least), and whoever comes while anything is left may take more than that and leave a debt, of an hour at most.
local UNIT = 60000000
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local millis = math.floor(now / 1000)
local wish, places, kept = ARGV[1], tonumber(ARGV[4]), tonumber(ARGV[5])

local function bucket(name, per_minute)
  if per_minute == 0 then return nil end
  local most = math.max(per_minute * UNIT / 10, UNIT)
  local seen = redis.call('HMGET', KEYS[1], name, name .. '@')
  local level, at = tonumber(seen[1]) or most, tonumber(seen[2]) or now
  -- A clock that was set back refills nothing.
  level = math.min(most, level + math.max(0, now - at) * per_minute)
  return {name = name, level = level, most = most, least = -60 * UNIT * per_minute, rate = per_minute}
end

local function set(rate, change)
  if not rate then return end
  local level = math.min(rate.most, math.max(rate.least, rate.level + change * UNIT))
  redis.call('HSET', KEYS[1], rate.name, string.format('%.0f', level), rate.name .. '@', string.format('%.0f', now))
  redis.call('PEXPIRE', KEYS[1], 7200000)
end

local requests, tokens = bucket('requests', tonumber(ARGV[2])), bucket('tokens', tonumber(ARGV[3]))

if wish == 'take' then
  if places > 0 then
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', millis)
    if redis.call('ZCARD', KEYS[2]) >= places then return 3 end
  end
  local which, longest = 0, 0
  for number, rate in pairs({requests or false, tokens or false}) do
    local wait = rate and math.ceil((UNIT - rate.level) / rate.rate) or 0
    if wait > longest then which, longest = number, wait end
  end
  if which > 0 then return longest * 4 + which end
  set(requests, -1)
  set(tokens, -tonumber(ARGV[7]))
elseif wish == 'give' then
  set(requests, tonumber(ARGV[6]))
  set(tokens, tonumber(ARGV[7]))
  if places > 0 and ARGV[8] then redis.call('ZREM', KEYS[2], ARGV[8]) end
  return 0
else
  set(requests, -tonumber(ARGV[6]))
  set(tokens, -tonumber(ARGV[7]))
end
if places > 0 then
  for at = 8, #ARGV do redis.call('ZADD', KEYS[2], millis + kept, ARGV[at]) end
  redis.call('PEXPIRE', KEYS[2], kept * 2)
end
return 0
