-- Remembers a call whose caller's connection broke, for all replicas, on this server's clock.
--
-- KEYS: a hash with the fields that note_claim.lua changes: who makes the call (by), its state, its answer, and the
-- microsecond at which the connection broke (at).
-- ARGV: who makes the call, milliseconds that the key lives.
local time = redis.call('TIME')
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'state', 'claimed', 'by', ARGV[1], 'at', time[1] * 1000000 + time[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
