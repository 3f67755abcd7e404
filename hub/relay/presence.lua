-- Who is in a session; tells it what has changed. One step, so that two workers cannot tell it in the wrong order.
-- KEYS presence, announced, channel · ARGV 'tell' or 'list', session, timestamp, ttl of `announced` in ms, users to look at
-- 'tell': also looks at users whose connections have expired, and publishes `presence.changed` for each that differs
--         from what was announced last → 0 · 'list' → [user, name as JSON, status, connections, …]
local rank = {idle = 1, active = 2, typing = 3}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local people, changed = {}, {}
for i = 5, #ARGV do changed[ARGV[i]] = true end

local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local user = string.match(fields[i], '^%S+')
  local expiry, status, name = string.match(fields[i + 1], '^(%d+)\n(%a+)\n(.*)$')
  if tonumber(expiry) > now then
    local person = people[user] or {status = 'idle', connections = 0, name = name}
    person.connections = person.connections + 1
    if rank[status] > rank[person.status] then person.status = status end
    people[user] = person
  elseif ARGV[1] == 'tell' then
    redis.call('HDEL', KEYS[1], fields[i])
    changed[user] = true
  end
end

if ARGV[1] == 'list' then
  local found = {}
  for user, person in pairs(people) do
    found[#found + 1] = user
    found[#found + 1] = person.name
    found[#found + 1] = person.status
    found[#found + 1] = person.connections
  end
  return found
end

for user, _ in pairs(changed) do
  local before = redis.call('HGET', KEYS[2], user)
  local person = people[user]
  if not person and before then
    person = {status = 'offline', connections = 0, name = string.match(before, '^[^\n]*\n(.*)$')}
  end
  if person then
    local now_announced = person.status .. ' ' .. person.connections .. '\n' .. person.name
    if before ~= now_announced then
      if person.connections == 0 then
        redis.call('HDEL', KEYS[2], user)
      else
        redis.call('HSET', KEYS[2], user, now_announced)
      end
      redis.call('PUBLISH', KEYS[3], ARGV[2] .. ' L\n{"type":"presence.changed","session":"' .. ARGV[2] .. '","ts":"' .. ARGV[3]
        .. '","data":{"user":"' .. user .. '","name":' .. person.name .. ',"status":"' .. person.status
        .. '","connections":' .. person.connections .. '}}')
    end
  end
end
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return 0
