-- Pieces of open messages, many at once: each is kept for late joiners and published, or neither.
-- KEYS for each: fence, text, channel
-- ARGV for each: epoch, bytes of the text with the piece, piece (empty: there is nothing to keep), envelope
-- → for each: 1 done, 0 a newer epoch holds the fence, -1 Redis has not all of the text, -2 no fence of this epoch
-- What is broken for one message must not stop the others, hence `pcall`. A Redis without memory keeps nothing and still
-- publishes: the text is then not as long as it should be, which the next piece finds out.
local call, pcall = redis.call, redis.pcall
local answers = {}
for i = 1, #KEYS / 3 do
  local k, a = 3 * i, 4 * i
  local fence = pcall('GET', KEYS[k - 2])
  if not fence then
    answers[i] = -2
  elseif fence ~= ARGV[a - 3] then
    answers[i] = (tonumber(fence) or math.huge) < tonumber(ARGV[a - 3]) and -2 or 0
  else
    local size = ARGV[a - 1] ~= '' and pcall('APPEND', KEYS[k - 1], ARGV[a - 1]) or tonumber(ARGV[a - 2])
    local full = type(size) == 'table' and string.find(size.err, 'OOM', 1, true)
    if size == tonumber(ARGV[a - 2]) or full then
      call('PUBLISH', KEYS[k], ARGV[a])
      answers[i] = 1
    else
      call('DEL', KEYS[k - 1])
      answers[i] = -1
    end
  end
end
return answers
