-- The whole text of an open message: its first piece, or all of it when Redis does not have it. A Redis without memory
-- keeps nothing and still publishes.
-- KEYS fence, text, open, channel · ARGV epoch, ttl, text, envelope
-- → 1 done, 0 a newer epoch holds the fence, -2 no fence of this epoch
local fence = redis.call('GET', KEYS[1])
if not fence then return -2 end
if fence ~= ARGV[1] then return (tonumber(fence) or math.huge) < tonumber(ARGV[1]) and -2 or 0 end
local kept = redis.pcall('SET', KEYS[2], ARGV[3], 'EX', ARGV[2])
local listed = redis.pcall('SADD', KEYS[3], KEYS[2])
if kept.err or type(listed) == 'table' then redis.call('DEL', KEYS[2]) end
redis.call('EXPIRE', KEYS[3], ARGV[2])
redis.call('PUBLISH', KEYS[4], ARGV[4])
return 1
