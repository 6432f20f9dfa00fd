#!lua flags=allow-oom
--[[ cancel: look for one message as `find` does; drop it if it waits, mark it if it is in flight.

Guarantee: a message that waited is gone in the step that found it. One in flight is marked in its
session's hash, so whoever would make it wait again drops it instead; its worker is told by the
stream. A dead letter and a broadcast are left as they are.

KEYS    1 dead letters  2 counts  3 stats  4 parked groups  5 cancellations (stream); then in flight
        of sessions, delayed of queues, their ready lists, parked lists
ARGV    1 id  2 number of sessions  3 number of delayed sets  4 place to go on at, 0 for the first
        5 offset there  6 how long a cancellation is kept (s); then the group of each parked list
returns as find
]]
--@include header
--@include message
--@include fields
--@include search

local n = {}
for i = 2, 5 do n[i] = tonumber(ARGV[i]) end
local found = search(5, ARGV[1], n[2], n[3], n[4], n[5])
local k, m, flights = found[1], found[2], 5 + n[2]
if k <= 1 or is_broadcast(m) then return found end
if k <= flights then
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', 10000, '*', 'i', ARGV[1], 's', KEYS[k])
  redis.call('EXPIRE', KEYS[5], ARGV[6])
  redis.call('HSET', KEYS[k], ARGV[1], marked(m))
  return found
end
if k <= flights + n[3] then
  redis.call('ZREM', KEYS[k], m)
else
  redis.call('LREM', KEYS[k], -1, m)
  local group = ARGV[#ARGV - (#KEYS - k)]
  if group and k > flights + 2 * n[3] and redis.call('LLEN', KEYS[k]) == 0 then
    redis.call('HDEL', KEYS[4], group)
  end
end
end_cancelled(KEYS[2], KEYS[3], m)
return found
