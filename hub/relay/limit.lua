-- The generic cell rate algorithm: one timestamp per limit says when it would be unused again.
-- KEYS limit · ARGV interval of one unit in us, burst, cost → us until it would be allowed (0: it is), us until unused
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local used_until = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local next = used_until + ARGV[3] * ARGV[1]
local wait = next - ARGV[2] * ARGV[1] - now
if wait > 0 then return {math.ceil(wait), math.ceil(used_until - now)} end
redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000))
return {0, math.ceil(next - now)}
