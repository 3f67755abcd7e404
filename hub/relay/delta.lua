-- One piece of an open message: kept for late joiners and published, or neither.
-- KEYS fence, text, next, open, channel · ARGV epoch, index, piece, ttl, message, head, envelope
-- → 1 done, 0 another epoch holds the fence, -1 not the next index (Redis lost some), -2 no fence: nobody may write
local fence = redis.call('GET', KEYS[1])
if not fence then return -2 end
if fence ~= ARGV[1] then return 0 end
if (redis.call('GET', KEYS[3]) or '0') ~= ARGV[2] then return -1 end
if ARGV[2] == '0' then
  redis.call('HSET', KEYS[4], ARGV[5], ARGV[6])
  redis.call('DEL', KEYS[2])
end
redis.call('APPEND', KEYS[2], ARGV[3])
redis.call('INCR', KEYS[3])
if ARGV[2] % 64 == 0 then -- as rarely as a lifetime of minutes allows: this runs for every token
  redis.call('EXPIRE', KEYS[2], ARGV[4])
  redis.call('EXPIRE', KEYS[3], ARGV[4])
  redis.call('EXPIRE', KEYS[4], ARGV[4])
end
redis.call('PUBLISH', KEYS[5], ARGV[7])
return 1
