-- Releases one slot in every budget named by KEYS, or shortens its hold, on this server's clock.
--
-- ARGV: slot id; then for each key the microseconds for which the slot is still held, or -1 to release it. A hold is
-- never extended, and a slot that has ended is not restored.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
for i, key in ipairs(KEYS) do
  local keep = tonumber(ARGV[i + 1])
  if keep < 0 then
    redis.call('ZREM', key, ARGV[1])
  else
    redis.call('ZADD', key, 'XX', 'LT', now + keep, ARGV[1])
  end
end
