-- Takes one slot in every budget named by KEYS, or none at all, on this server's clock.
--
-- A budget is one sorted set. Each slot is a member whose score is the microsecond at which its hold ends. One more
-- member is the mark: it contains the run id of the server and the division that the replicas agree on, and its score
-- is minus the microsecond from which on the set has every slot that was taken. A set without the mark is new, was lost
-- or restored, or belongs to replicas that do not agree. Slots granted before may then be missing, so none is granted
-- until the last of those would have ended; where another server may have granted them, it may have done so for a while
-- after now.
--
-- The last key is a hash with the run id (@run), the microsecond at which the hash began (@began), the one from which on
-- all sets have every slot (@since), and a field for each set that was used since it began: registered (replicas told
-- which slots they hold in it; a member of that name proves that it was not lost again), whole (it has every slot since
-- @since), or lost (its mark alone says since when). A set without a field is not lost: no slot was taken in it since the
-- hash began. Where replicas register their slots (register.lua), @since becomes earlier than @began.
--
-- ARGV: slot id, run id, microseconds of that while; then for each key: limit, own part, window, hold, '1' if the call can do without.
-- Returns for each key: 1 if a slot was taken, else 0; the free slots left; the microseconds until one more is free,
-- negative while the budget is held back.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local slot, run, while_two = ARGV[1], ARGV[2], tonumber(ARGV[3])
local runs = KEYS[#KEYS]
local budgets, possible = {}, true
for i = 1, #KEYS - 1 do
  local key, at = KEYS[i], 5 * i - 1
  local limit, hold = tonumber(ARGV[at]), tonumber(ARGV[at + 3])
  local mark = table.concat({ '@' .. run, ARGV[at], ARGV[at + 1], ARGV[at + 2] }, ' ')
  local score, complete = redis.call('ZSCORE', key, mark), now
  local known = redis.call('HMGET', runs, '@run', '@since', key)
  local since, state = tonumber(known[2]), known[3]
  if score then
    complete = -score
    redis.call('ZREMRANGEBYSCORE', key, 0, now - 1)
    if not state then redis.call('HSET', runs, key, 'lost') end
    if state == 'whole' and known[1] == run and since < complete then
      complete = since
      redis.call('ZADD', key, -complete, mark)
    end
  else
    if known[1] ~= run then
      redis.call('DEL', runs)
      redis.call('HSET', runs, '@run', run, '@since', now, '@began', now)
      since, state = now, nil
    end
    local is_whole = not state or state == 'registered' and redis.call('ZSCORE', key, '@registered')
    if is_whole then complete = since end
    redis.call('HSET', runs, key, is_whole and 'whole' or 'lost')
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now - 1)
    redis.call('ZADD', key, -complete, mark)
  end
  local ready = complete + hold + while_two
  -- The mark is a member as well.
  local room = limit - (redis.call('ZCARD', key) - 1)
  local held_back = ready > now
  local takes = room > 0 and not held_back
  if not takes and ARGV[at + 4] ~= '1' then possible = false end
  budgets[i] = { room = room, hold = hold, ready = ready, held_back = held_back, takes = takes }
end
local answer = {}
for i, budget in ipairs(budgets) do
  local key = KEYS[i]
  local taken = possible and budget.takes
  if taken then
    redis.call('ZADD', key, now + budget.hold, slot)
    budget.room = budget.room - 1
  end
  local wait = 0
  if budget.room <= 0 or not budget.held_back then
    -- Above a lowered limit, as many slots must end first as there are too many.
    local over = math.max(0, -budget.room)
    local first = redis.call('ZRANGEBYSCORE', key, 0, '+inf', 'WITHSCORES', 'LIMIT', over, 1)
    if first[2] then wait = first[2] - now + 1 end
  end
  local free = math.max(0, budget.room)
  if budget.held_back then
    free, wait = 0, -math.max(wait, budget.ready - now)
  end
  answer[3 * i - 2], answer[3 * i - 1], answer[3 * i] = taken and 1 or 0, free, wait
end
return answer
