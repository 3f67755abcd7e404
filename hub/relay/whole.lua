-- The whole text of an open message: its first piece, or all of it when Redis does not have it.
-- KEYS fence, text, open, channel · ARGV epoch, ttl, text, envelope
-- → 1 done, 0 another epoch holds the fence, -2 no fence: nobody may write
local fence = redis.call('GET', KEYS[1])
if not fence then return -2 end
if fence ~= ARGV[1] then return 0 end
redis.call('SADD', KEYS[3], KEYS[2])
redis.call('EXPIRE', KEYS[3], ARGV[2])
redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[2])
redis.call('PUBLISH', KEYS[4], ARGV[4])
return 1
