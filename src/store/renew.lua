-- Extends the holds of one call's slots as if they were taken now, on this server's clock.
--
-- KEYS: the budget of each slot. ARGV: for each slot its id and its hold in microseconds. Returns 1, or 0 if one of the
-- slots has ended; then nothing is changed.
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
