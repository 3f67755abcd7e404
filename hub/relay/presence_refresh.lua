-- The connections of one worker, in many sessions, are still here.
-- KEYS for each session: presence, announced
-- ARGV ttl in ms, ttl of `announced` in ms, then for each session: how many connections, and for each of them
--      "user connection", status, name as JSON
-- → the sessions, by their number from 1, in which something may be to tell: others are in them, too, or Redis has
--   forgotten something. In all others nothing can have changed that was not told.
local time = redis.call('TIME')
local expiry = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1])
local look, at = {}, 3
for i = 1, #KEYS, 2 do
  local count, fields = tonumber(ARGV[at]), {}
  for n = 0, count - 1 do
    fields[2 * n + 1] = ARGV[at + 1 + 3 * n]
    fields[2 * n + 2] = expiry .. '\n' .. ARGV[at + 2 + 3 * n] .. '\n' .. ARGV[at + 3 + 3 * n]
  end
  at = at + 1 + 3 * count
  local new = redis.call('HSET', KEYS[i], unpack(fields))
  redis.call('PEXPIRE', KEYS[i], ARGV[1] * 2)
  local announced = redis.call('PEXPIRE', KEYS[i + 1], ARGV[2])
  if new > 0 or announced == 0 or redis.call('HLEN', KEYS[i]) > count then
    look[#look + 1] = (i + 1) / 2
  end
end
return look
