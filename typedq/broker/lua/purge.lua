#!lua flags=allow-oom
--[[ purge: drop ready, then delayed messages of a queue; at most 500 a call.

Guarantee: a message leaves the queue and the waiting counts in one step.

KEYS    1 ready  2 delayed  3 counts  4 stats
ARGV    none
returns number dropped
]]
--@include header
--@include message
--@include fields

local dropped = redis.call('LPOP', KEYS[1], 500) or {}
if #dropped == 0 then dropped = redis.call('ZRANGE', KEYS[2], 0, 499) end
if #dropped == 0 then return 0 end
redis.call('ZREM', KEYS[2], unpack(dropped))
for _, m in ipairs(dropped) do
  if is_message(m) then count(KEYS[3], contract_of(m), -1) end
end
count(KEYS[4], 'purged', #dropped)
return #dropped
