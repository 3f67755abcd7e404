-- Something live that only the holder of the lease may say and that nobody keeps.
-- KEYS fence, channel · ARGV epoch, envelope → 1 done, 0 another epoch holds the fence, -2 no fence
local fence = redis.call('GET', KEYS[1])
if not fence then return -2 end
if fence ~= ARGV[1] then return 0 end
redis.call('PUBLISH', KEYS[2], ARGV[2])
return 1
