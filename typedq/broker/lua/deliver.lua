#!lua flags=allow-oom
--[[ deliver: copy broadcasts into the queue of one supervisor, at most 500 a call.

Guarantee: copy and cursor change in one step: each is delivered at most once. A new
supervisor starts at the end. A copy counts neither as waiting nor as parked; its queue expires.

KEYS    1 broadcasts (stream)  2 broadcast cursor  3 stats; then ready, delayed, wake
ARGV    1 its queue  2 its last known cursor: entry id or ""  3 number of that entry
        4 time to live of its keys (s)
returns {entry id, number of that entry, number delivered, number missed}
]]
--@include header
--@include message
--@include fields
--@include wake

local id, number = ARGV[2], ARGV[3]
local cursor, cursor_number = string.match(redis.call('GET', KEYS[2]) or '', '^(%d+%-%d+) (%d+)$')
if cursor then
  id, number = cursor, cursor_number
elseif id == '' then
  local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
  id = last and last[1] or '0-0'
  number = redis.call('HGET', KEYS[3], 'broadcast') or '0'
end
number = tonumber(number) or 0

local entries, missed = redis.call('XRANGE', KEYS[1], '(' .. id, '+', 'COUNT', 500), 0
for _, entry in ipairs(entries) do
  local n, m = tonumber(string.match(entry[2][2], '^%d+$') and entry[2][2]), entry[2][4]
  id = entry[1]
  if n and m and is_message(m) and is_broadcast(m) then
    missed, number = missed + math.max(0, n - number - 1), n
    local _, contract = string.find(m, '^[^ ]+', 53)
    local rest = string.find(m, ' ', contract + 2, true)
    add_token(KEYS[6])
    redis.call('RPUSH', KEYS[4], string.sub(m, 1, contract + 1) .. ARGV[1] .. string.sub(m, rest))
  end
end
if #entries > 0 then
  count(KEYS[3], 'delivered', #entries)
  redis.call('SET', KEYS[2], id .. ' ' .. number)
end
if missed > 0 then count(KEYS[3], 'missed', missed) end
for _, k in ipairs({2, 4, 5, 6}) do redis.call('EXPIRE', KEYS[k], ARGV[4]) end
return {id, number, #entries, missed}
