#!lua flags=allow-oom
--[[ settle_and_fetch: settle what a session finished and fetch more, in one round trip a batch.

Guarantee: only the session that holds a message settles it (HDEL answers 1), so a stale worker
changes nothing; what is fetched is in flight before the reply leaves. Strict priority: a queue is
read only when those before it are empty or paused. What is due is the tick's business; who finds
nothing looks for it too, at most 500 a call. A message that was lost before ends the batch. Never
sent twice: after a lost reply, rotate.

KEYS    1 sessions  2 in flight  3 counts  4 dead  5 dead letters  6 stats  7 supervisors' wake
        token  8 paused (ready lists); then per queue ready, delayed, wake
ARGV    1 session  2 messages wanted  3 place of the queue whose token was taken; 0 for none
        4 most dead letters  5 their greatest age (ms)  6 reason for what is no message;
        then settlements:
        "ack", contract, number, id*      ended well; contract "": they did not count as waiting
        "all", number, 1 + 2 x pairs, id of one, (contract, number)*  alone: all in flight ended
        "again", queue's place, id, attempts, delay ms
        "bury", id, reason
        "drop", id                        leave no trace of it
        "back", queue's place, id         handed back uncounted, to the head of its queue
returns {"gone"} if the session has ended, {"differs"} if not all of "all", or more, is in flight:
        nothing was done; else {"ok", number settled, {message*}*}
]]
--@include header
--@include message
--@include wake
--@include fetch

local function line(place) return 8 + 3 * (tonumber(place) - 1) end
local flight, settled, at, paused = KEYS[2], 0, 7, {}
local function pay() -- who was woken owes the queue a look
  local k = ARGV[3] ~= '0' and line(ARGV[3])
  if k and not paused[KEYS[k + 1]] then pass_on(KEYS[k + 1], KEYS[k + 3]) end
end
-- Something in flight tells as well that the session has not ended: it ends with its messages.
local all = ARGV[at] == 'all'
local differs = all and (redis.call('HLEN', flight) ~= tonumber(ARGV[at + 1])
  or redis.call('HEXISTS', flight, ARGV[at + 3]) == 0)
if (differs or not all) and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  pay()
  return {'gone'}
end
if differs then return {'differs'} end
local dead = {KEYS[4], KEYS[5], KEYS[6], tonumber(ARGV[4]), tonumber(ARGV[5])}

if all then -- cheaper than ids, for who holds nothing else; differs if something else came in
  redis.call('DEL', flight)
  for i = at + 4, #ARGV, 2 do
    if ARGV[i] ~= '' then count(KEYS[3], ARGV[i], -ARGV[i + 1]) end
  end
  settled = tonumber(ARGV[at + 1])
  count(KEYS[6], 'done', settled)
elseif ARGV[at] then
  --@include fields
  --@include due
  --@include bury
  local function held(id) return redis.call('HGET', flight, id) end
  -- Last of all: should a key be spoiled, the message is still held.
  local function let_go(id) settled = settled + redis.call('HDEL', flight, id) end

  local settle, words = {drop = let_go}, {again = 5, bury = 3, drop = 2, back = 3}
  function settle.ack(contract, number)
    local ended = redis.call('HDEL', flight, unpack(ARGV, at + 3, at + 2 + number))
    if ended > 0 then -- minus zero is "-0", which is no integer to Redis 7.0
      if contract ~= '' then count(KEYS[3], contract, -ended) end
      count(KEYS[6], 'done', ended)
    end
    settled = settled + ended
  end
  function settle.again(place, id, attempts, ms)
    local k, m, due = line(place), held(id), now_ms() + ms
    if not m then return end
    m = with_due(string.sub(m, 1, 7) .. attempts .. string.sub(m, 11), due)
    count(KEYS[6], 'retried', 1)
    if tonumber(ms) > 0 then
      delay(KEYS[k + 2], m, due, KEYS[7])
    else
      redis.call('RPUSH', KEYS[k + 1], m)
      plant(KEYS[k + 3])
    end
    let_go(id)
  end
  function settle.bury(id, reason)
    local m = held(id)
    if not m then return end
    bury(dead, id, m, reason)
    no_longer_waits(KEYS[3], m)
    let_go(id)
  end
  function settle.back(place, id)
    local k, m = line(place), held(id)
    if not m then return end
    redis.call('LPUSH', KEYS[k + 1], m)
    let_go(id)
    plant(KEYS[k + 3])
  end
  while at <= #ARGV do
    settle[ARGV[at]](ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4])
    at = at + (words[ARGV[at]] or 3 + ARGV[at + 2])
  end
end

-- more would not fit on Lua's stack
local reply, wanted = {'ok', settled}, math.min(tonumber(ARGV[2]), 1000)
local lists, place = {}, {}
paused = redis.call('SMEMBERS', KEYS[8])
for _, ready in ipairs(paused) do paused[ready] = true end
for k = 8, #KEYS - 3, 3 do
  local ready = KEYS[k + 1]
  if not paused[ready] then place[ready], lists[#lists + 1] = k, ready end
end

local function take()
  repeat
    local list
    list, wanted = fetch(lists, flight, wanted, reply, dead, ARGV[6])
    if list then pass_on(list, KEYS[place[list] + 3]) end
  until not list or list == lists[#lists]
end
take()
if wanted > 0 and #reply == 2 then -- the tick may be late
  --@include due
  local now, most = now_ms(), 500
  for _, list in ipairs(lists) do
    most = most - promote(list, KEYS[place[list] + 2], now, most)
    pass_on(list, KEYS[place[list] + 3])
  end
  if most < 500 then take() end
end
pay()
return reply
