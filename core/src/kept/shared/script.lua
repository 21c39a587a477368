-- The answers of one route. KEYS: its generation, one answer. ARGV: what to do; a generation; how long generations are kept, ms.
--   look: answers the generation, and behind it for how long the answer is kept, ms (12 digits), and the answer, where there is one; '!' where
--         something else is in its place. Where there is no generation, the one that is brought is it from now on.
--   keep: ARGV goes on with the answer, and for how long it is kept, ms. Kept only if the generation still is this one. Answers 1, or 0.
-- Clearing is deleting the generation: no answer is found under the next one, and who asked before keeps none after.
local now = redis.call('GET', KEYS[1])
if now and #now ~= 32 then now = false end
if ARGV[1] == 'look' then
  if not now then
    now = ARGV[2]
    redis.call('SET', KEYS[1], now, 'PX', ARGV[3])
  end
  local kept = redis.pcall('GET', KEYS[2])
  if not kept then return now end
  local of = type(kept) == 'string' and string.sub(kept, 1, 32) or ''
  if of == now then
    return now .. string.format('%012d', redis.call('PTTL', KEYS[2])) .. string.sub(kept, 33)
  end
  -- Of a generation before: it goes when its time is over.
  return now .. (#of == 32 and string.find(of, '^%x+$') and '' or '!')
end
if now ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[2], now .. ARGV[4], 'PX', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
