#!lua flags=allow-oom
--[[ open: start sessions, each with a lease and the queues it serves.

Guarantee: a known session is not changed, which makes it safe to send twice.

KEYS    1 sessions  2 session queues
ARGV    1 lease (ms)  2 queues, separated by spaces, then session*
returns number of sessions opened
]]
--@include header

local until_ms, opened = now_ms() + tonumber(ARGV[1]), 0
for i = 3, #ARGV do
  opened = opened + redis.call('ZADD', KEYS[1], 'NX', until_ms, ARGV[i])
  redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[2])
end
return opened
