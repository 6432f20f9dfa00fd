#!lua flags=allow-oom
--[[ fetch_idle: fetch for an idle worker in the moment in which the server takes a token for it.

It waits behind a BLPOP of the same connection, so that nobody knows yet whose token that will be;
and it is on the way of every message to an idle worker, so it is short, and leaves to `work` a
batch with anything else than messages of this format that were never lost, more than 1 MiB, what
may be due by now, and a session that has ended.

Guarantee: it fetches as `work` does and leaves a token wherever it leaves messages; or it leaves
all as it was, and the token that was taken is still owed. Never sent twice: after a lost reply,
rotate.

KEYS    1 sessions  2 in flight  3 paused (ready lists); then per queue ready, delayed, wake
ARGV    1 session  2 messages wanted
returns {"ok", 0, {message*}} | {"nothing"}
]]
--@include wake

local match, sub, digits = string.match, string.sub, string.rep('%d', 13)
local PLAIN = '^1 0 00 %d%d%d ' .. digits .. ' [^ ]+() [%l%d_.-]+@%x+ [%l%d_.-]+ [^ ]+ .'

if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return {'nothing'} end
local paused, from = redis.call('SMEMBERS', KEYS[3]), {0}
for _, ready in ipairs(paused) do paused[ready] = true end
for k = 4, #KEYS, 3 do
  if not paused[KEYS[k]] then from[#from + 1] = KEYS[k] end
end
local n = #from
if n == 1 then return {'nothing'} end
-- more would not fit on Lua's stack
from[1], from[n + 1], from[n + 2], from[n + 3] = n - 1, 'LEFT', 'COUNT', math.min(ARGV[2], 1000)
local got = redis.call('LMPOP', unpack(from))
if not got then return {'nothing'} end
local list, popped = got[1], got[2]

local held, bytes, plain = {}, 0, true
for i, m in ipairs(popped) do
  bytes = bytes + #m
  plain = plain and match(m, PLAIN) == 52 and bytes <= 2^20
  held[2 * i - 1], held[2 * i] = sub(m, 26, 51), m
end
if not plain or type(redis.pcall('HSET', KEYS[2], unpack(held))) == 'table' then
  for i = #popped, 1, -1 do redis.call('LPUSH', list, popped[i]) end
  return {'nothing'}
end
for k = 4, #KEYS, 3 do
  if not paused[KEYS[k]] then pass_on(KEYS[k], KEYS[k + 2]) end
end
return {'ok', 0, popped}
