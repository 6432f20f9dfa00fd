#!lua flags=allow-oom
--[[ purge: drop what waits in a queue, ready or delayed; at most 500 a call.

Guarantee: a message leaves the queue and the waiting counts in one step; nothing in flight is
touched.

KEYS    1 ready  2 delayed  3 counts  4 stats
ARGV    none
returns number dropped
]]
--@include header
--@include message
--@include fields

local gone = redis.call('LPOP', KEYS[1], 500) or {}
if #gone == 0 then gone = redis.call('ZRANGE', KEYS[2], 0, 499) end
if #gone == 0 then return 0 end
redis.call('ZREM', KEYS[2], unpack(gone))
for _, m in ipairs(gone) do
  if is_message(m) then count(KEYS[3], contract_of(m), -1) end
end
count(KEYS[4], 'purged', #gone)
return #gone
