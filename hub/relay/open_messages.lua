-- Every open message of a session with its text and next index, as of one moment.
-- KEYS open · ARGV prefix of text keys, prefix of next keys → [message, head, text, next, …]
local found, heads = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #heads, 2 do
  local text = redis.call('GET', ARGV[1] .. heads[i])
  local next = redis.call('GET', ARGV[2] .. heads[i])
  if text and next then
    found[#found + 1] = heads[i]
    found[#found + 1] = heads[i + 1]
    found[#found + 1] = text
    found[#found + 1] = next
  end
end
return found
