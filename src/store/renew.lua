-- Holds the slots of one call on for their whole time, as if they were taken now, on this server's clock.
--
-- KEYS: the budget of each slot. ARGV: then for each its id and its hold in microseconds. Answers 1; or 0 if one of them
-- is not held any more, and then nothing is changed.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
for i, key in ipairs(KEYS) do
  local ends = redis.call('ZSCORE', key, ARGV[2 * i - 1])
  if not ends or tonumber(ends) < now then return 0 end
end
for i, key in ipairs(KEYS) do
  redis.call('ZADD', key, 'XX', 'GT', now + ARGV[2 * i], ARGV[2 * i - 1])
end
return 1
