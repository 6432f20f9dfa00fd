#!lua flags=allow-oom
--[[ settle_and_fetch: settle what a session finished and fetch its next messages in one round trip.

Guarantee: only the session that holds a message settles it (HDEL returns 1). Fetched messages are
in flight before the reply is sent. A queue is read only if those before it are empty or paused. If
all are empty, up to 500 due messages become ready. A message that must run alone ends the batch.
What was cancelled is dropped instead of retried or released.
Never sent twice. After a lost connection, the session is replaced before anything is settled:
for a server that forgot the last second, "ack_all" would name other messages.

KEYS    1 sessions  2 in flight  3 counts  4 dead  5 dead letters  6 stats  7 supervisors' wake
        token  8 paused (ready lists); then per queue ready, delayed, wake
ARGV    1 session  2 max messages  3 place of the queue whose token was taken; 0 for none, -1 if
        it is unknown which was taken, if any  4 max dead letters  5 their max age (ms)
        6 reason for malformed messages; then settlements:
        "ack", contract, number, id*      succeeded; contract "": broadcasts, not in counts
        "ack_all", number, 1 + 2 x pairs, id of one, (contract, number)*  all in flight succeeded
        "retry", queue's place, id, attempts, delay ms
        "dead_letter", id, reason
        "discard", id                     drop a broadcast
        "cancel", id                      it was cancelled
        "expire", id                      it has expired, and was not begun
        "release", queue's place, id      to the head of its queue, uncounted
returns {"ended"} if the session has ended, {"mismatch"} if "ack_all" differs from what is
        in flight (nothing was done); else {"ok", number settled, {message*}*}
]]
--@include header
--@include message
--@include wake
--@include fetch

local function offset(place) return 8 + 3 * (tonumber(place) - 1) end -- of a queue's keys
local in_flight, settled, at, paused = KEYS[2], 0, 7, {}
local function return_token() -- needed if its queue was not read
  local token = tonumber(ARGV[3])
  for place = math.max(token, 1), token < 0 and (#KEYS - 8) / 3 or token do
    local k = offset(place)
    if not paused[KEYS[k + 1]] then pass_token(KEYS[k + 1], KEYS[k + 3]) end
  end
end
-- A message in flight also proves that the session has not ended: both are deleted together.
local all = ARGV[at] == 'ack_all'
local mismatch = all and (redis.call('HLEN', in_flight) ~= tonumber(ARGV[at + 1])
  or redis.call('HEXISTS', in_flight, ARGV[at + 3]) == 0)
if (mismatch or not all) and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return_token()
  return {'ended'}
end
if mismatch then return {'mismatch'} end
local bounds = {KEYS[4], KEYS[5], KEYS[6], tonumber(ARGV[4]), tonumber(ARGV[5])}

if all then -- cheaper than ids
  redis.call('DEL', in_flight)
  for i = at + 4, #ARGV, 2 do
    if ARGV[i] ~= '' then count(KEYS[3], ARGV[i], -ARGV[i + 1]) end
  end
  settled = tonumber(ARGV[at + 1])
  count(KEYS[6], 'done', settled)
elseif ARGV[at] then
  --@include fields
  --@include due
  --@include dead_letter
  local function held(id) return redis.call('HGET', in_flight, id) end
  -- Called last: if a key has the wrong type, the message stays in flight.
  local function remove(id) settled = settled + redis.call('HDEL', in_flight, id) end

  local settle, words = {discard = remove}, {retry = 5, dead_letter = 3, release = 3}
  function settle.ack(contract, number)
    local ended = redis.call('HDEL', in_flight, unpack(ARGV, at + 3, at + 2 + number))
    if ended > 0 then -- -0 becomes "-0", which Redis 7.0 refuses as an integer
      if contract ~= '' then count(KEYS[3], contract, -ended) end
      count(KEYS[6], 'done', ended)
    end
    settled = settled + ended
  end
  local function drop(id, outcome)
    local m = held(id)
    if not m then return end
    end_as(outcome, KEYS[3], KEYS[6], m)
    remove(id)
  end
  function settle.cancel(id) drop(id, 'cancelled') end
  function settle.expire(id) drop(id, 'expired') end
  -- The header has three digits; from 1,000 attempts on, the options hold the number.
  local function with_attempts(m, attempts)
    if #attempts > 3 then
      local before, options, after = string.match(m, '^([^ ]+ [^ ]+ )([^ ]+)( .*)$', 53)
      local others = string.gsub(string.match(options, '^{(.*)}$') or '', '^"attempts":%d+,?', '')
      options = '{"attempts":' .. attempts .. (others ~= '' and ',' or '') .. others .. '}'
      m, attempts = string.sub(m, 1, 52) .. before .. options .. after, '999'
    end
    return string.sub(m, 1, 7) .. attempts .. string.sub(m, 11)
  end
  function settle.retry(place, id, attempts, ms)
    local k, m, due = offset(place), held(id), now_ms() + ms
    if not m then return end
    if is_cancelled(m) then return settle.cancel(id) end
    m = with_due(with_attempts(m, attempts), due)
    count(KEYS[6], 'retried', 1)
    if tonumber(ms) > 0 then
      delay(KEYS[k + 2], m, due, KEYS[7])
    else
      redis.call('RPUSH', KEYS[k + 1], m)
      add_token(KEYS[k + 3])
    end
    remove(id)
  end
  function settle.dead_letter(id, reason)
    local m = held(id)
    if not m then return end
    m = unmarked(m)
    add_dead_letter(bounds, id, m, reason)
    no_longer_waits(KEYS[3], m)
    remove(id)
  end
  function settle.release(place, id)
    local k, m = offset(place), held(id)
    if not m then return end
    if is_cancelled(m) then return settle.cancel(id) end
    redis.call('LPUSH', KEYS[k + 1], m)
    remove(id)
    add_token(KEYS[k + 3])
  end
  while at <= #ARGV do
    settle[ARGV[at]](ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4])
    at = at + (ARGV[at] == 'ack' and 3 + ARGV[at + 2] or words[ARGV[at]] or 2)
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

local function fetch_in_order()
  repeat
    local list
    list, wanted = fetch(lists, in_flight, wanted, reply, bounds, ARGV[6])
    if list then pass_token(list, KEYS[place[list] + 3]) end
  until not list or list == lists[#lists]
end
fetch_in_order()
if wanted > 0 and #reply == 2 then -- the tick may be late
  --@include due
  local now, left = now_ms(), 500
  for _, list in ipairs(lists) do
    left = left - promote(list, KEYS[place[list] + 2], now, left)
    pass_token(list, KEYS[place[list] + 3])
  end
  if left < 500 then fetch_in_order() end
end
return_token()
return reply
