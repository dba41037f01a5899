-- Registers the slots that a replica holds with a server that began anew, on this server's clock.
--
-- KEYS: the hash about the server's run (take.lua), then the budgets of the slots.
-- ARGV: run id; the beginning of the hash as this script told it, or nothing to ask for it; who registers; microseconds
-- since it asked for its first slot; how many replicas there are; '1' with its last slots; then for each slot: the
-- number of its budget, its id, and the microseconds for which it is still held.
-- Returns the beginning of the hash, and the microsecond from which on the sets have every slot.
--
-- No more than so many replicas run at once. So if that many held slots already before the beginning, nobody else took
-- any since the last of them came, and the sets have every slot that was taken since then.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local runs, run, asked = KEYS[1], ARGV[1], tonumber(ARGV[2])
local known = redis.call('HMGET', runs, '@run', '@since', '@began')
if known[1] ~= run then
  redis.call('DEL', runs)
  redis.call('HSET', runs, '@run', run, '@since', now, '@began', now)
  known = { run, now, now }
end
local since, began = tonumber(known[2]), tonumber(known[3] or known[2])
-- What was lost meanwhile must be registered from the start.
if asked ~= began then return { began, since } end
for i = 2, #KEYS do
  local key = KEYS[i]
  if not redis.call('HMGET', runs, key)[1] then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now - 1)
    redis.call('ZADD', key, -now, '@registered')
    redis.call('HSET', runs, key, 'registered')
  end
end
for i = 7, #ARGV, 3 do
  redis.call('ZADD', KEYS[1 + ARGV[i]], now + ARGV[i + 2], ARGV[i + 1])
end
local by, start = 'by:' .. ARGV[3], now - ARGV[4]
if ARGV[6] == '1' and start < began and not redis.call('HMGET', runs, by)[1] then
  local others = redis.call('HMGET', runs, '@registered', '@latest', '@replicas')
  local registered = tonumber(others[1] or 0) + 1
  local latest = math.max(tonumber(others[2] or 0), start)
  local replicas = math.max(tonumber(others[3] or 0), tonumber(ARGV[5]))
  if registered >= replicas then since = math.min(since, latest) end
  redis.call('HSET', runs, by, start, '@registered', registered, '@latest', latest, '@replicas', replicas,
    '@began', began, '@since', since)
end
return { began, since }
