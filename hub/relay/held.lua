-- What one worker holds of things of which there may be only so many over all workers.
-- KEYS workers (sorted set: worker → until when it lives, in ms), then for each holder: hash worker → how many
-- ARGV worker, its life in ms, life of a hash in ms, names it had before and what stands under them does not count any
--      more; for each holder: how many here, how many of them are new, how many there may be
-- → 0 when nobody knew that this worker lives, then for each holder: how many of the new ones are too many; they are
--   not counted
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local me = ARGV[1]
call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local answers = {call('ZSCORE', KEYS[1], me) and 1 or 0}
call('ZADD', KEYS[1], now + ARGV[2], me)
call('PEXPIRE', KEYS[1], ARGV[3])
for i = 2, #KEYS do
  local count, new, most = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
  local too_many = 0
  for name in string.gmatch(ARGV[4], '%x+') do
    call('HDEL', KEYS[i], name)
  end
  if new > 0 then
    local total, shares = count, call('HGETALL', KEYS[i])
    for j = 1, #shares, 2 do
      if shares[j] ~= me then
        if call('ZSCORE', KEYS[1], shares[j]) then
          total = total + shares[j + 1]
        else
          call('HDEL', KEYS[i], shares[j])
        end
      end
    end
    too_many = math.max(0, math.min(new, total - most))
  end
  if count > too_many then
    call('HSET', KEYS[i], me, count - too_many)
    call('PEXPIRE', KEYS[i], ARGV[3])
  else
    call('HDEL', KEYS[i], me)
  end
  answers[i] = too_many
end
return answers
