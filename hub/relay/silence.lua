-- KEYS fence, open · ARGV epoch, ttl → 1 older epochs write no more and what they had open is forgotten, 0 a newer holds
local held = redis.call('GET', KEYS[1])
if held and tonumber(held) > tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
for _, text in ipairs(redis.call('SMEMBERS', KEYS[2])) do redis.call('DEL', text) end
redis.call('DEL', KEYS[2])
return 1
