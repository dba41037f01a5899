-- Keeps the list of replicas, and tells one of them which slots of its own part it may use.
--
-- KEYS: a hash with a field for each replica: the microsecond at which it was seen last, and the one at which it ended
-- at the latest, or 0.
-- ARGV: who asks; how many replicas run at most; the microseconds for which a slot of an own part is held at most after its
-- replica ended; '1' if the replica ends now.
-- Returns t: the replica may use slots of its own part that are held for less than t microseconds; -1: all.
--
-- No more than so many replicas run at once. One that ended may have left slots of its own part behind, so it counts until
-- these are over. If with those as many as there may be have an own part in use, a new one has to wait. Where more run
-- than there may be, the last one waits for as long as the others are seen.

-- Where too many are listed, those that were not seen for so long have ended.
local SILENT = 5000000

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local key, asks, replicas, longest = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local function write(who, seen, ended) redis.call('HSET', key, who, string.format('%.0f %.0f', seen, ended)) end

if ARGV[4] == '1' then
  write(asks, now, now)
  return 0
end
local running, silent, ends = 1, {}, {}
local fields = redis.call('HGETALL', key)
for i = 1, #fields, 2 do
  local who = fields[i]
  local seen, ended = fields[i + 1]:match('^(%d+) (%d+)$')
  seen, ended = tonumber(seen), tonumber(ended)
  if who ~= asks and ended == 0 then
    running = running + 1
    if seen < now - SILENT then silent[#silent + 1] = { who = who, seen = seen } end
  elseif who ~= asks and ended + longest < now then
    redis.call('HDEL', key, who)
  elseif who ~= asks then
    ends[#ends + 1] = { who = who, at = ended }
  end
end
table.sort(silent, function(one, other) return one.seen < other.seen end)
for i = 1, math.min(#silent, running - replicas) do
  write(silent[i].who, silent[i].seen, now)
  running, ends[#ends + 1] = running - 1, { who = silent[i].who, at = now }
end
write(asks, now, 0)
table.sort(ends, function(one, other) return one.at > other.at end)
-- No more matter than may run, however often one starts again.
for i = replicas + 1, #ends do redis.call('HDEL', key, ends[i].who) end
if running > replicas then return 0 end
-- As many that ended may still have slots in use as there are fewer running than may.
local last = ends[replicas - running + 1]
return last and now - last.at or -1
