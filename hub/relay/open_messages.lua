-- Every open message of a session as of one moment.
-- KEYS open → [key of its text, what is kept there, …]
local found = {}
for _, key in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local kept = redis.call('GET', key)
  if kept then
    found[#found + 1] = key
    found[#found + 1] = kept
  end
end
return found
