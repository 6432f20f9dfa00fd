#!lua flags=allow-oom
--[[ recover_session: end a session and settle or return each of its messages.

Guarantee: happens once; only its owner ends a session whose lease still runs. What reaches a limit
becomes a dead letter. What returns to its queue is next there, oldest first; but messages that must
run alone now come behind the others, so that a suspect holds nobody up.

KEYS    1 sessions  2 session queues  3 in flight  4 counts  5 dead  6 dead letters  7 stats
        8 lease extended; then per queue ready, delayed, wake
ARGV    1 session  2 "owner" | "expired"  3 max crashes  4 max losses  5 max dead letters
        6 max age of dead letters (ms)  7 reason for crashes  8 for losses  9 for an unknown queue
        10 fate of the messages not named: "back" | "lost"  11 number of queues, then queue*;
        then (fate, id)*
        "done"   it ended well: acknowledge it
        "crash"  its process died while it ran alone: count a crash
        "lost"   its process died while it ran beside others, or nobody knows: count a loss
        "back"   it did not start, or the process died for a known cause: return it uncounted
returns {"alive"} if the lease still runs, else {"reaped", done, dead, returned}
]]
--@include header
--@include message
--@include fields
--@include wake
--@include bury

local now, expiry = now_ms(), redis.call('ZSCORE', KEYS[1], ARGV[1])
if ARGV[2] == 'expired' and expiry and tonumber(expiry) > now then return {'alive'} end
local dead = {KEYS[5], KEYS[6], KEYS[7], tonumber(ARGV[5]), tonumber(ARGV[6])}
local queues, fates, names = {}, {}, tonumber(ARGV[11])
for i = 1, names do queues[ARGV[11 + i]] = 8 + 3 * (i - 1) end
for i = 12 + names, #ARGV, 2 do fates[ARGV[i + 1]] = ARGV[i] end

-- The message with one more at a place of its header, and whether that is too many.
local function counted(m, place, format, most, limit)
  local size = #string.format(format, most)
  local n = math.min(tonumber(string.sub(m, place, place + size - 1)) + 1, most)
  m = string.sub(m, 1, place - 1) .. string.format(format, n) .. string.sub(m, place + size)
  return m, n >= math.min(tonumber(limit), most)
end

local done, buried, returned = 0, 0, 0
local function give_back(id, m, reason)
  local k = queues[queue_of(m)]
  if not k and is_broadcast(m) then return end
  if not k then reason = ARGV[9] end
  if reason then
    bury(dead, id, m, reason)
    no_longer_waits(KEYS[4], m)
    buried = buried + 1
  else
    redis.call('LPUSH', KEYS[k + 1], m)
    plant(KEYS[k + 3])
    returned = returned + 1
  end
end

local in_flight, alone, reasons, ids = {}, {}, {}, {}
local all = redis.call('HGETALL', KEYS[3])
for i = 1, #all, 2 do
  local id, m = all[i], all[i + 1]
  local fate, too_often = is_message(m) and (fates[id] or ARGV[10]) or 'back', false
  if fate == 'crash' then
    m, too_often = counted(m, 3, '%d', 9, ARGV[3])
    reasons[id] = too_often and ARGV[7]
  elseif fate == 'lost' then
    m, too_often = counted(m, 5, '%02d', 99, ARGV[4])
    reasons[id] = too_often and ARGV[8]
  end
  local _, must_run_alone = is_message(m)
  fates[id], in_flight[id], alone[id], ids[#ids + 1] = fate, m, must_run_alone or false, id
end
-- Ids rise in time. What is pushed first is next last.
table.sort(ids, function(a, b)
  if alone[a] ~= alone[b] then return alone[a] end
  return a > b
end)
for _, id in ipairs(ids) do
  local m, fate = in_flight[id], fates[id]
  if fate == 'done' then
    no_longer_waits(KEYS[4], m)
    count(KEYS[7], 'done', 1)
    done = done + 1
  else
    if fate ~= 'back' then count(KEYS[7], fate == 'crash' and 'crashed' or 'lost', 1) end
    give_back(id, m, reasons[id])
  end
  redis.call('HDEL', KEYS[3], id) -- should the next one fail, this one is not returned twice
end

redis.call('DEL', KEYS[3])
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('SREM', KEYS[8], ARGV[1])
return {'reaped', done, buried, returned}
