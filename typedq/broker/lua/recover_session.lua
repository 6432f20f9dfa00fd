#!lua flags=allow-oom
--[[ recover_session: end a session and settle or return each of its messages.

Guarantee: happens once; only the owner may end a session before its lease ends. A message that
reaches a limit becomes a dead letter. Returned messages are next in their queue, oldest first;
those that must run alone come after the others, to delay nobody. What was cancelled is dropped.

KEYS    1 sessions  2 session queues  3 in flight  4 counts  5 dead  6 dead letters  7 stats
        8 lease extended; then per queue ready, delayed, wake
ARGV    1 session  2 "owner" | "expired"  3 max crashes  4 max losses  5 max dead letters
        6 max age of dead letters (ms)  7 reason for crashes  8 for losses  9 for an unknown queue
        10 fate of messages not named: "back" | "lost"  11 number of queues, then queue*;
        then (fate, id)*: "done" acknowledges, "crash" counts a crash, "lost" counts a loss, and
        "back" returns it uncounted
returns {"alive"} if the lease has not ended, else {"recovered", done, dead, returned}
]]
--@include header
--@include message
--@include fields
--@include wake
--@include dead_letter

local now, expiry = now_ms(), redis.call('ZSCORE', KEYS[1], ARGV[1])
if ARGV[2] == 'expired' and expiry and tonumber(expiry) > now then return {'alive'} end
local bounds = {KEYS[5], KEYS[6], KEYS[7], tonumber(ARGV[5]), tonumber(ARGV[6])}
local queues, fates, names = {}, {}, tonumber(ARGV[11])
for i = 1, names do queues[ARGV[11 + i]] = 8 + 3 * (i - 1) end
for i = 12 + names, #ARGV, 2 do fates[ARGV[i + 1]] = ARGV[i] end

-- Increment a counter of the header; at the limit, set the reason of a dead letter.
local function count_up(entry, place, form, max, limit, reason)
  local m, size = entry.message, #string.format(form, max)
  local n = math.min(tonumber(string.sub(m, place, place + size - 1)) + 1, max)
  local before, after = string.sub(m, 1, place - 1), string.sub(m, place + size)
  entry.message = before .. string.format(form, n) .. after
  if n >= math.min(tonumber(limit), max) then entry.reason = reason end
end

local entries, all = {}, redis.call('HGETALL', KEYS[3])
for i = 1, #all, 2 do
  local entry = {id = all[i], message = unmarked(all[i + 1]), fate = 'back'}
  if is_message(entry.message) then
    entry.fate = fates[entry.id] or ARGV[10]
    if is_cancelled(all[i + 1]) and entry.fate ~= 'done' then entry.fate = 'cancelled' end
  else
    entry.message = all[i + 1]
  end
  if entry.fate == 'crash' then count_up(entry, 3, '%d', 9, ARGV[3], ARGV[7]) end
  if entry.fate == 'lost' then count_up(entry, 5, '%02d', 99, ARGV[4], ARGV[8]) end
  entry.alone = select(2, is_message(entry.message)) or false
  entries[#entries + 1] = entry
end
-- Ids rise in time. LPUSH: the message that is pushed last is next.
table.sort(entries, function(a, b)
  if a.alone ~= b.alone then return a.alone end
  return a.id > b.id
end)

local counters = {done = 'done', crash = 'crashed', lost = 'lost'}
local done, dead, returned = 0, 0, 0
for _, entry in ipairs(entries) do
  local id, m, k = entry.id, entry.message, queues[queue_of(entry.message)]
  if counters[entry.fate] then count(KEYS[7], counters[entry.fate], 1) end
  if entry.fate == 'done' then
    no_longer_waits(KEYS[4], m)
    done = done + 1
  elseif entry.fate == 'cancelled' then
    end_cancelled(KEYS[4], KEYS[7], m)
  elseif k and not entry.reason then
    redis.call('LPUSH', KEYS[k + 1], m)
    add_token(KEYS[k + 3])
    returned = returned + 1
  elseif k or not is_broadcast(m) then -- a broadcast is dropped with its supervisor
    add_dead_letter(bounds, id, m, k and entry.reason or ARGV[9])
    no_longer_waits(KEYS[4], m)
    dead = dead + 1
  end
  redis.call('HDEL', KEYS[3], id) -- now, or an error at the next one would return this one twice
end

redis.call('DEL', KEYS[3])
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('SREM', KEYS[8], ARGV[1])
return {'recovered', done, dead, returned}
