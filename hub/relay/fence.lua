-- KEYS fences · ARGV ttl, then the epoch of each → for each: 1 it holds, 0 a newer one is there
local answers = {}
for i, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  if held and tonumber(held) > tonumber(ARGV[i + 1]) then
    answers[i] = 0
  else
    redis.call('SET', key, ARGV[i + 1], 'EX', ARGV[1])
    answers[i] = 1
  end
end
return answers
