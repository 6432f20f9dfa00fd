#!lua flags=allow-oom
--[[ work: settle what a session finished, and fetch its next messages: one round trip a batch.

Guarantee: only the session that holds a message settles it (HDEL answers 1), so a stale worker
changes nothing; what is fetched is in flight before the reply leaves. Strict priority: a queue is
read only when those before it are empty or paused. What is due comes first to its queue, at most
500 a call. A message that was lost before ends the batch. Never sent twice: after a lost reply,
rotate.

KEYS    1 sessions  2 in flight  3 counts  4 dead  5 dead letters  6 stats  7 supervisors' wake
        token  8 paused (ready lists); then per queue ready, delayed, wake
ARGV    1 session  2 messages wanted  3 place of the queue whose token was taken, or 0
        4 most dead letters  5 their greatest age (ms)  6 reason for what is no message;
        then settlements:
        "ack", contract, number, id*      ended well; contract "": they did not count as waiting
        "again", queue's place, id, attempts, delay ms
        "bury", id, reason
        "drop", id                        leave no trace of it
        "back", queue's place, id         handed back uncounted, to the head of its queue
returns {"gone"} if the session has ended, else {"ok", number settled, message*}
]]
--@include message
--@include wake
--@include due
--@include bury
--@include fetch

local function line(place) return 8 + 3 * (tonumber(place) - 1) end
local flight, now, settled, at = KEYS[2], now_ms(), 0, 7
local owed = ARGV[3] ~= '0' and line(ARGV[3])
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  if owed then pass_on(KEYS[owed + 1], KEYS[owed + 3]) end
  return {'gone'}
end
local dead = {KEYS[4], KEYS[5], KEYS[6], tonumber(ARGV[4]), tonumber(ARGV[5])}

local function held(id) return redis.call('HGET', flight, id) end
-- Last of all: should a key be spoiled, the message is still held.
local function let_go(id) settled = settled + redis.call('HDEL', flight, id) end

local settle = {}
function settle.ack()
  local last = at + 2 + tonumber(ARGV[at + 2])
  local ended = redis.call('HDEL', flight, unpack(ARGV, at + 3, last))
  if ended > 0 then -- minus zero is "-0", which is no integer to Redis 7.0
    if ARGV[at + 1] ~= '' then count(KEYS[3], ARGV[at + 1], -ended) end
    count(KEYS[6], 'done', ended)
  end
  settled, at = settled + ended, last + 1
end
function settle.again()
  local k, m, ms = line(ARGV[at + 1]), held(ARGV[at + 2]), tonumber(ARGV[at + 4])
  if m then
    m = with_due(string.sub(m, 1, 7) .. ARGV[at + 3] .. string.sub(m, 11), now + ms)
    count(KEYS[6], 'retried', 1)
    if ms <= 0 then
      redis.call('RPUSH', KEYS[k + 1], m)
      plant(KEYS[k + 3])
    else
      delay(KEYS[k + 2], m, now + ms, KEYS[7])
    end
    let_go(ARGV[at + 2])
  end
  at = at + 5
end
function settle.bury()
  local m = held(ARGV[at + 1])
  if m then
    bury(dead, ARGV[at + 1], m, ARGV[at + 2], now)
    no_longer_waits(KEYS[3], m)
    let_go(ARGV[at + 1])
  end
  at = at + 3
end
function settle.drop()
  let_go(ARGV[at + 1])
  at = at + 2
end
function settle.back()
  local k, m = line(ARGV[at + 1]), held(ARGV[at + 2])
  if m then
    redis.call('LPUSH', KEYS[k + 1], m)
    let_go(ARGV[at + 2])
    plant(KEYS[k + 3])
  end
  at = at + 3
end
while at <= #ARGV do settle[ARGV[at]]() end

-- more would not fit on Lua's stack
local reply, wanted, moves_left = {'ok', settled}, math.min(tonumber(ARGV[2]), 1000), 500

local function odd(m, i) bury(dead, redis.sha1hex(m .. now .. i), m, ARGV[6], now) end

local paused = {}
for _, ready in ipairs(redis.call('SMEMBERS', KEYS[8])) do paused[ready] = true end
for k = 8, #KEYS - 3, 3 do
  if wanted <= 0 then break end
  -- one look is enough for a queue with nothing in it, as most are
  local something = redis.call('EXISTS', KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]) > 0
  if something and not paused[KEYS[k + 1]] then
    moves_left = moves_left - promote(KEYS[k + 1], KEYS[k + 2], now, moves_left)
    wanted = fetch(KEYS[k + 1], flight, wanted, reply, odd)
    if pass_on(KEYS[k + 1], KEYS[k + 3]) then break end
  end
end
if owed and not paused[KEYS[owed + 1]] then pass_on(KEYS[owed + 1], KEYS[owed + 3]) end
return reply
