-- Connections that are here, or are gone (an empty status).
-- KEYS presence · ARGV ttl in ms, then for each connection: "user connection", status, name as JSON
local time = redis.call('TIME')
local expiry = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1])
for i = 2, #ARGV, 3 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], expiry .. '\n' .. ARGV[i + 1] .. '\n' .. ARGV[i + 2])
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1] * 2)
return 1
