-- Looks for a call whose caller's connection broke, on this server's clock.
--
-- KEYS: the hash of broke.lua.
-- ARGV: microseconds since the break during which the same call is a repeat; microseconds after which a call that did
-- not end is given up; milliseconds that the key lives from now on, because the repeat's connection broke as well, or 0.
-- Returns one word and what belongs to it: none; claimed: it is under way; answered, answer; lost; old: too long ago.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local known = redis.call('HMGET', KEYS[1], 'state', 'at', 'answer')
local state, at, answer = known[1], tonumber(known[2]), known[3]
if not state then return { 'none' } end
if now - at > tonumber(ARGV[1]) then return { 'old' } end
if ARGV[3] ~= '0' then
  redis.call('HSET', KEYS[1], 'at', now)
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
if state == 'claimed' and now - at > tonumber(ARGV[2]) then return { 'lost' } end
return { state, answer or '' }
