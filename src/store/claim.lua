-- Claims a call that is known by a key of its caller, for all replicas, on this server's clock.
--
-- KEYS: a hash with the call's digest (call), who claimed it (by), since when (at), its state, the cid with which it can
-- be sent again (cid; empty: its own), the microsecond since which it may have been delivered (since), and its answer.
-- ARGV: the call's digest, who asks, microseconds after which a claim that did not end is given up, milliseconds that
-- the key lives.
-- Returns one word and what belongs to it: first; open, cid, microseconds since it may have been delivered; wait;
-- conflict; answered, answer; lost.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local key, asked, asks = KEYS[1], ARGV[1], ARGV[2]
local known = redis.call('HMGET', key, 'call', 'state', 'at', 'cid', 'since', 'answer')
local call, state, at, cid, since = known[1], known[2], tonumber(known[3]), known[4], tonumber(known[5])
if not call then
  redis.call('HSET', key, 'call', asked, 'state', 'claimed', 'by', asks, 'at', now)
  redis.call('PEXPIRE', key, ARGV[4])
  return { 'first' }
end
if call ~= asked then return { 'conflict' } end
if state == 'answered' then return { 'answered', known[6] } end
if state == 'lost' then return { 'lost' } end
if state == 'claimed' and now - at <= tonumber(ARGV[3]) then return { 'wait' } end
-- Its replica is gone, and whether the call was sent is unknown.
if not cid then
  redis.call('HSET', key, 'state', 'lost')
  return { 'lost' }
end
redis.call('HSET', key, 'state', 'claimed', 'by', asks, 'at', now)
return { 'open', cid, now - (since or at) }
