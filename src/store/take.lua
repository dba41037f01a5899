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
-- Next to each set is a hash of the calls that wait for a slot in it:
--   at:REPLICA  the microsecond at which this ends unless the replica asks again, since when its next call waits as
--               such, the number of its waiting calls, the weight of the next one's caller, and all their callers.
--   due:CALLER  the virtual time at which the caller's next turn is due.
--   last        the due time for which a slot was given last; a caller gains nothing by having been absent.
-- A slot goes to the replica with the caller whose turn is due first; among such, to the one whose next call is so for
-- the longest time. The replica serves its own callers in turns, and the caller that it serves pays: its next turn is
-- due later, the sooner the higher its weight. A call that does not wait takes nothing while one does elsewhere. Where
-- slots are left beside those for all the turns before a call's own, it takes one: they need not come one by one.
--
-- KEYS: for each budget its set and its hash; then the hash of the run.
-- ARGV: slot id, run id, microseconds of that while, who asks; then for each budget: limit, own part, window, hold,
-- need, and its turn: nothing (it does not wait), 'first' (before all others), or the number of
-- calls that wait at the replica, the longest that the next one waits in microseconds, the weight of its caller, this
-- caller, and the others that wait there. The need is 'must', 'may' (it can do without), or 'place' (it only waits now).
-- Returns for each budget: 1 if a slot was taken, else 0; the free slots left; the microseconds until one more is free,
-- negative while the budget is held back.

-- How soon a call asks again for each replica that goes before it, the longest until it asks again in any case, and how
-- late it may be. One that does not ask by then lets others pass.
local AGAIN, ASKS_WITHIN, LATE = 4000, 1000000, 100000
-- The virtual time that one turn costs a caller of weight one, and the milliseconds that a hash lives.
local STRIDE, LIVES = 1048576, 10000
-- The most turns that a caller of weight one can still have after others went on without it.
local KEPT = 16

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local slot, run, while_two, asks = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local runs = KEYS[#KEYS]

-- What is known about the calls that wait for one budget; nil if none does.
local function read_queue(key)
  local fields = redis.call('HGETALL', key)
  if #fields == 0 then return nil end
  local queue = { last = 0, due = {}, replicas = {} }
  for i = 1, #fields, 2 do
    local field, value = fields[i], fields[i + 1]
    local kind = field:sub(1, 3)
    if kind == 'due' then
      queue.due[field:sub(5)] = value
    elseif kind == 'at:' then
      local ends, since, calls, weight, callers = value:match('^(%d+) (%d+) (%d+) (%d+) (.*)$')
      if tonumber(ends) < now then
        redis.call('HDEL', key, field)
      else
        local other = { ends = ends, since = tonumber(since), calls = calls, weight = weight, callers = callers }
        queue.replicas[field:sub(4)] = other
      end
    else
      queue.last = tonumber(value)
    end
  end
  return queue
end

local function due(queue, caller) return math.max(tonumber(queue.due[caller]) or 0, queue.last) end

-- When the first turn of some callers is due.
local function first_due(queue, callers)
  local first = math.huge
  for caller in callers:gmatch('%S+') do
    first = math.min(first, due(queue, caller))
    -- None is due sooner, and the store must not look at hundreds of callers for each call.
    if first == queue.last then break end
  end
  return first
end

-- What goes before this call: the number of replicas, the turns that their calls have, and when the last of them asks.
local function look_before(queue, turn)
  local mine = turn.callers and first_due(queue, turn.callers) or math.huge
  local before = { replicas = 0, turns = 0, asks_at = now }
  queue.mine, queue.first = mine, mine
  for who, other in pairs(queue.replicas) do
    if who ~= asks then
      local theirs = turn.callers and first_due(queue, other.callers) or 0
      queue.first = math.min(queue.first, theirs)
      if theirs < mine or theirs == mine and other.since < turn.since then
        local turns = math.floor((mine - theirs) * other.weight / STRIDE) + 1
        before.replicas = before.replicas + 1
        before.turns = before.turns + math.min(turns, other.calls)
        before.asks_at = math.max(before.asks_at, other.ends - LATE)
      end
    end
  end
  return before
end

-- Remembers that a call was served, and that the replica waits and asks again after so many microseconds.
local function write_queue(budget, taken, again)
  local key, queue, turn = budget.waiting, budget.queue, budget.turn
  if taken then
    local caller, last = turn.callers:match('%S+'), math.max(queue.first, queue.mine - KEPT * STRIDE)
    local next_due = due(queue, caller) + math.floor(STRIDE / turn.weight)
    for who, at in pairs(queue.due) do
      -- Says no more than the last due time.
      if tonumber(at) <= last then redis.call('HDEL', key, 'due:' .. who) end
    end
    redis.call('HSET', key, 'last', last, 'due:' .. caller, next_due)
    turn.calls, turn.since, again = turn.calls - 1, now, 0
  end
  if turn.calls > 0 then
    local ends = now + math.min(again + LATE, turn.longest)
    local waits = string.format('%.0f %.0f %d %d %s', ends, turn.since, turn.calls, turn.weight, turn.callers)
    redis.call('HSET', key, 'at:' .. asks, waits)
  else
    redis.call('HDEL', key, 'at:' .. asks)
  end
  redis.call('PEXPIRE', key, LIVES)
end

-- Since when a set has every slot that was taken.
local function complete_since(key, mark)
  local score = redis.call('ZSCORE', key, mark)
  local known = redis.call('HMGET', runs, '@run', '@since', key)
  local since, state = tonumber(known[2]), known[3]
  local complete = now
  if score then
    complete = -score
    redis.call('ZREMRANGEBYSCORE', key, 0, now - 1)
    if not state then redis.call('HSET', runs, key, 'lost') end
    if state == 'whole' and known[1] == run and since < complete then
      complete = since
      redis.call('ZADD', key, -complete, mark)
    end
    return complete
  end
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
  return complete
end

local budgets, possible = {}, true
for i = 1, (#KEYS - 1) / 2 do
  local key, waiting, at = KEYS[2 * i - 1], KEYS[2 * i], 6 * i - 1
  local limit, hold, need = tonumber(ARGV[at]), tonumber(ARGV[at + 3]), ARGV[at + 4]
  local mark = table.concat({ '@' .. run, ARGV[at], ARGV[at + 1], ARGV[at + 2] }, ' ')
  local ready = complete_since(key, mark) + hold + while_two
  -- The mark is a member as well.
  local room = limit - (redis.call('ZCARD', key) - 1)
  local turn, queue = { since = now }, nil
  if ARGV[at + 5] ~= 'first' then
    queue = read_queue(waiting)
    local calls, longest, weight, callers = ARGV[at + 5]:match('^(%d+) (%d+) (%d+) (.*)$')
    if calls then
      queue = queue or { last = 0, due = {}, replicas = {} }
      turn = { since = now, calls = tonumber(calls), longest = tonumber(longest), weight = weight, callers = callers }
      if queue.replicas[asks] then turn.since = queue.replicas[asks].since end
    end
  end
  local budget = { key = key, waiting = waiting, room = room, hold = hold, ready = ready, need = need }
  budget.queue, budget.turn = queue, turn
  budget.held_back = ready > now
  budget.before = queue and look_before(queue, turn) or { replicas = 0, turns = 0 }
  budget.takes = need ~= 'place' and room > budget.before.turns and not budget.held_back
  budget.waits = turn.callers and need ~= 'may' and not budget.held_back
  if not budget.takes and need ~= 'may' then possible = false end
  budgets[i] = budget
end
local answer = {}
for i, budget in ipairs(budgets) do
  local key = budget.key
  local taken = possible and budget.takes
  if taken then
    redis.call('ZADD', key, now + budget.hold, slot)
    budget.room = budget.room - 1
  end
  local wait, before = 0, budget.before
  if budget.room > 0 and budget.room <= before.turns and not budget.held_back then
    -- One that only keeps its place does not ask soon.
    wait = math.max(AGAIN * before.replicas, math.min(LATE, before.asks_at - now))
  elseif budget.room <= 0 or not budget.held_back then
    -- Above a lowered limit, as many slots must end first as there are too many.
    local over = math.max(0, -budget.room)
    local first = redis.call('ZRANGEBYSCORE', key, 0, '+inf', 'WITHSCORES', 'LIMIT', over, 1)
    if first[2] then wait = first[2] - now + 1 end
  end
  if budget.turn.callers and (taken or budget.waits) then
    write_queue(budget, taken, budget.need == 'place' and ASKS_WITHIN or math.min(wait, ASKS_WITHIN))
  end
  local free = math.max(0, budget.room - before.turns)
  if budget.held_back then
    free, wait = 0, -math.max(wait, budget.ready - now)
  end
  answer[3 * i - 2], answer[3 * i - 1], answer[3 * i] = taken and 1 or 0, free, wait
end
return answer
