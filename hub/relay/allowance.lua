-- Many requests of one caller at once, by the generic cell rate algorithm: as many are counted as are allowed.
-- KEYS limit · ARGV interval of one request in us, burst, how many
-- → us until the first that was too many would be allowed (0: none was), us until unused
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, allowed = tonumber(ARGV[1]), tonumber(ARGV[2]) * ARGV[1]
local used = math.max(tonumber(redis.call('GET', KEYS[1]) or 0) - now, 0)
local counted = math.max(0, math.min(tonumber(ARGV[3]), math.floor((allowed - used) / interval)))
if counted > 0 then
  used = used + counted * interval
  redis.call('SET', KEYS[1], string.format('%.0f', now + used), 'PX', math.ceil(used / 1000))
end
local wait = 0
if counted < tonumber(ARGV[3]) then wait = math.max(1, math.ceil(used + interval - allowed)) end
return {wait, math.ceil(used)}
