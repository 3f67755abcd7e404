-- The whole text of an open message, when Redis does not have all of it.
-- KEYS fence, text, next, open, channel · ARGV epoch, index, text, ttl, message, head, envelope
-- → 1 done, 0 another epoch holds the fence, -2 no fence: nobody may write
local fence = redis.call('GET', KEYS[1])
if not fence then return -2 end
if fence ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[4], ARGV[5], ARGV[6])
redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[4])
redis.call('SET', KEYS[3], ARGV[2], 'EX', ARGV[4])
redis.call('EXPIRE', KEYS[4], ARGV[4])
redis.call('PUBLISH', KEYS[5], ARGV[7])
return 1
