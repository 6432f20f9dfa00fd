#!lua
--[[ enqueue: accept all messages or none, and at most once even if sent again.

Protocol 1: docs/protocol.md promises how long these keys, arguments and replies stay.

Guarantee: a producer's sequence number is accepted once; a resend returns "seen" and does nothing.
If a contract is unknown, nothing is written, and the producer sends the call again with its schema.
At maxmemory the server refuses the script before it starts. Of messages with the same unique key,
one is accepted while that key lives; the others are duplicates, which a resend returns again.

KEYS    1 last sequence number of the producer  2 contracts  3 counts  4 supervisors' wake token;
        then per queue ready, delayed, wake; then unique keys
ARGV    1 sequence number  2 its time to live (s)  3 number of schemas, then (contract, schema)*;
        then groups of messages: (queue's place, "now" | "delay" | "eta", ms, contract, number,
        message*). Before a group: "unique", place of its key from the end, time to live (ms);
        then "expires", after how many ms: the time is written into its messages, of format 2
        Short form for one message that is due now, of a contract that is known: sequence number,
        its time to live (s), contract, message
returns {"accepted" | "seen"}, with duplicates: {..., "(id, id of the first)*"}, separated by
        spaces | {"unknown", contract*}
]]
--@include header
--@include wake

local seq = tonumber(ARGV[1])
local seen = redis.call('GET', KEYS[1])
if seen then
  local number, duplicates = tonumber(seen), nil
  if not number then number, duplicates = string.match(seen, '^(%d+) (.*)$') end
  number = tonumber(number) or 0
  if seq <= number then return {'seen', seq == number and duplicates or nil} end
end

if #ARGV == 4 then -- the short form
  if redis.call('HEXISTS', KEYS[2], ARGV[3]) == 0 then return {'unknown', ARGV[3]} end
  redis.call('RPUSH', KEYS[5], ARGV[4])
  add_token(KEYS[7])
  count(KEYS[3], ARGV[3], 1)
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
  return {'accepted'}
end

local groups = 4 + 2 * tonumber(ARGV[3])
for i = 4, groups - 1, 2 do redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1]) end

local unknown, at = nil, groups
while at <= #ARGV do
  if ARGV[at] == 'unique' then
    redis.call('GET', KEYS[#KEYS - ARGV[at + 1]])
    at = at + 3
  end
  if ARGV[at] == 'expires' then at = at + 2 end
  if redis.call('HEXISTS', KEYS[2], ARGV[at + 3]) == 0 then
    unknown = unknown or {'unknown'}
    unknown[#unknown + 1] = ARGV[at + 3]
  end
  local next = at + 5 + tonumber(ARGV[at + 4])
  if at > groups or next <= #ARGV then -- keys of the wrong type must fail before any write
    local k = 4 + 3 * (tonumber(ARGV[at]) - 1)
    redis.call('LLEN', KEYS[k + 1])
    if ARGV[at + 1] ~= 'now' then redis.call('ZRANK', KEYS[k + 2], '') end
  end
  at = next
end
if unknown then return unknown end

local duplicates = ''
at = groups
while at <= #ARGV do
  local unique, ms, expires
  if ARGV[at] == 'unique' then unique, ms, at = KEYS[#KEYS - ARGV[at + 1]], ARGV[at + 2], at + 3 end
  if ARGV[at] == 'expires' then expires, at = now_ms() + ARGV[at + 1], at + 2 end
  local k, mode, due = 4 + 3 * (tonumber(ARGV[at]) - 1), ARGV[at + 1], tonumber(ARGV[at + 2])
  local first, last = at + 5, at + 4 + tonumber(ARGV[at + 4])
  local after = last + 1
  if unique then
    local id = string.sub(ARGV[first], 26, 51)
    local holder = redis.call('GET', unique)
    last = holder and first - 1 or first
    for i = last + 1, after - 1 do
      duplicates = duplicates .. ' ' .. string.sub(ARGV[i], 26, 51) .. ' ' .. (holder or id)
    end
    if not holder then redis.call('SET', unique, id, 'PX', ms) end
  end
  if expires then
    --@include expiry
    local words = ARGV -- in place, so that what follows sees messages as they are stored
    for i = first, last do words[i] = with_expiry(words[i], expires) end
  end
  local now = mode ~= 'now' and now_ms()
  if mode == 'delay' then due = now + due end
  if last < first then
    last = first - 1 -- all are duplicates
  elseif not now or due <= now then
    -- Lua's stack limits unpack to about 8,000 values
    for i = first, last, 4000 do
      redis.call('RPUSH', KEYS[k + 1], unpack(ARGV, i, math.min(i + 3999, last)))
    end
    add_token(KEYS[k + 3])
  else
    --@include due
    for i = first, last do delay(KEYS[k + 2], with_due(ARGV[i], due), due, KEYS[4]) end
  end
  count(KEYS[3], ARGV[at + 3], last - first + 1)
  at = after
end
redis.call('SET', KEYS[1], ARGV[1] .. duplicates, 'EX', ARGV[2])
return {'accepted', duplicates ~= '' and duplicates or nil}
