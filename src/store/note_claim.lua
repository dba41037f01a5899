-- Changes a claim, unless another replica has taken it over.
--
-- KEYS: the hash. ARGV: who asks, then pairs of a field and its value; none: the claim is given up, and with it the key.
-- The field since is set once: a call that may have been delivered may have been so from the first time on.
if redis.call('HGET', KEYS[1], 'by') ~= ARGV[1] then return 0 end
if not ARGV[2] then return redis.call('DEL', KEYS[1]) end
local time = redis.call('TIME')
redis.call('HSETNX', KEYS[1], 'since', time[1] * 1000000 + time[2])
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
