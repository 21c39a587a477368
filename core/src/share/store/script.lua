-- One limit of many sidecars. KEYS: what is left of its rates, who holds a place of it.
-- ARGV: what to do; places (0: no limit); how long a place is kept, ms; a minute's worth of each rate, as named below (0: no limit);
--   so much of each rate; places...
--   take: so much of each rate, and a place. Answers 0, or which limit has no room (6: places) and for how long.
--   give: so much was not used (below 0: more than was taken), the place is free.
--   keep: so much was used without asking; these places are in use.
-- A rate is a smooth bucket, as core/src/limits/bucket.rs has it: it refills by the microsecond, holds a tenth of a minute's
-- worth (one at the least), and whoever comes while anything is left may take more than that and leave a debt, of an hour at most.
local UNIT = 60000000
local RATES = {'requests', 'tokens', 'input', 'output', 'cost'}
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local millis = math.floor(now / 1000)
local wish, places, kept = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local function bucket(name, per_minute)
  if per_minute == 0 then return false end
  local most = math.max(per_minute * UNIT / 10, UNIT)
  local seen = redis.call('HMGET', KEYS[1], name, name .. '@')
  local least = -60 * UNIT * per_minute
  -- What was owed of a higher limit than this is an hour's worth of this one at most.
  local level, at = math.max(least, tonumber(seen[1]) or most), tonumber(seen[2]) or now
  -- A clock that was set back refills nothing.
  level = math.min(most, level + math.max(0, now - at) * per_minute)
  return {name = name, level = level, most = most, least = least, rate = per_minute}
end

-- Returns in how many microseconds it is full again.
local function set(rate, change)
  if not rate then return 0 end
  local level = math.min(rate.most, math.max(rate.least, rate.level + change * UNIT))
  redis.call('HSET', KEYS[1], rate.name, string.format('%.0f', level), rate.name .. '@', string.format('%.0f', now))
  return (rate.most - level) / rate.rate
end

local rates = {}
for number, name in ipairs(RATES) do rates[number] = bucket(name, tonumber(ARGV[3 + number])) end

-- A count that is as good as new is none: callers make up names, and each has one. Of a limit that is lowered meanwhile, two minutes.
local function change(sign)
  local full = 120000000
  for number, rate in ipairs(rates) do full = math.max(full, set(rate, sign * tonumber(ARGV[8 + number]))) end
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(full / 1000)))
end

if wish == 'take' then
  if places > 0 then
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', millis)
    if redis.call('ZCARD', KEYS[2]) >= places then return 6 end
  end
  local which, longest = 0, 0
  for number, rate in ipairs(rates) do
    local wait = rate and math.ceil((UNIT - rate.level) / rate.rate) or 0
    if wait > longest then which, longest = number, wait end
  end
  if which > 0 then return longest * 8 + which end
  change(-1)
elseif wish == 'give' then
  change(1)
  if places > 0 and ARGV[14] then redis.call('ZREM', KEYS[2], ARGV[14]) end
  return 0
else
  change(-1)
end
if places > 0 then
  for at = 14, #ARGV do redis.call('ZADD', KEYS[2], millis + kept, ARGV[at]) end
  redis.call('PEXPIRE', KEYS[2], kept * 2)
end
return 0
