#!lua flags=allow-oom
--[[ recover_session: end a session and give each of its messages its due.

Guarantee: happens once; a session whose lease still runs is ended only by its owner. A finished
message is acknowledged, one that ran alone counts a crash, one that ran beside others or whose
fate is unknown counts a loss, every other goes back uncounted. What reaches a limit is buried.

KEYS    1 sessions  2 session queues  3 in flight  4 counts  5 dead  6 dead letters  7 stats
        8 pardoned; then per queue ready, delayed, wake
ARGV    1 session  2 "owner" | "expired"  3 crashes allowed  4 losses allowed  5 most dead letters
        6 their greatest age (ms)  7 reason for crashes  8 for losses  9 for an unknown queue
        10 fate of the messages not named: "back" | "lost"  11 number of queues, then queue*;
        then ("done" | "crash" | "lost" | "back", id)*
returns {"alive"} if its lease still runs, else {"reaped", done, buried, back}
]]
--@include header
--@include message
--@include fields
--@include wake
--@include bury

local now, expiry = now_ms(), redis.call('ZSCORE', KEYS[1], ARGV[1])
if ARGV[2] == 'expired' and expiry and tonumber(expiry) > now then return {'alive'} end
local dead = {KEYS[5], KEYS[6], KEYS[7], tonumber(ARGV[5]), tonumber(ARGV[6])}
local lines, fate, names = {}, {}, tonumber(ARGV[11])
for i = 1, names do lines[ARGV[11 + i]] = 8 + 3 * (i - 1) end
for i = 12 + names, #ARGV, 2 do fate[ARGV[i + 1]] = ARGV[i] end

local done, buried, back = 0, 0, 0
local function ended(m, counter)
  no_longer_waits(KEYS[4], m)
  if counter then count(KEYS[7], counter, 1) end
end

local function put_back(id, m, reason)
  local k = lines[queue_of(m)]
  if not k and is_broadcast(m) then return end
  if not k then reason = ARGV[9] end
  if reason then
    bury(dead, id, m, reason)
    ended(m)
    buried = buried + 1
  else
    redis.call('LPUSH', KEYS[k + 1], m)
    plant(KEYS[k + 3])
    back = back + 1
  end
end

local outcome = {}
function outcome.done(_, m) ended(m, 'done') done = done + 1 end
local function counted(counter, place, form, most, limit, reason)
  local size = #string.format(form, most)
  return function(id, m)
    local n = math.min(tonumber(string.sub(m, place, place + size - 1)) + 1, most)
    count(KEYS[7], counter, 1)
    m = string.sub(m, 1, place - 1) .. string.format(form, n) .. string.sub(m, place + size)
    put_back(id, m, n >= math.min(tonumber(limit), most) and reason)
  end
end
outcome.crash = counted('crashed', 3, '%d', 9, ARGV[3], ARGV[7])
outcome.lost = counted('lost', 5, '%02d', 99, ARGV[4], ARGV[8])
function outcome.back(id, m) put_back(id, m) end

local flight, ids = {}, {}
local all = redis.call('HGETALL', KEYS[3])
for i = 1, #all, 2 do flight[all[i]], ids[#ids + 1] = all[i + 1], all[i] end
-- ids rise in time: the youngest is put back first, so that the oldest is next again
table.sort(ids, function(a, b) return a > b end)
for _, id in ipairs(ids) do
  local m = flight[id]
  outcome[is_message(m) and (fate[id] or ARGV[10]) or 'back'](id, m)
  redis.call('HDEL', KEYS[3], id) -- should the next one fail, this one is not put back twice
end

redis.call('DEL', KEYS[3])
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('SREM', KEYS[8], ARGV[1])
return {'reaped', done, buried, back}
