-- Lets go of one slot in every budget named by KEYS, on this server's clock.
--
-- ARGV: slot id, then for each key how many microseconds it is still held, or -1: not at all. A slot is never held
-- longer than before, and one that is gone is not brought back.
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
