#!lua flags=allow-oom
--[[ survey: count messages by state. Changes nothing; costs O(queues + sessions + contracts).

KEYS    1 sessions  2 dead  3 stats  4 counts  5 workers  then as many in-flight keys as
        ARGV 1 says; then per queue ready, delayed, wake
ARGV    1 number of in-flight keys
returns {server ms, in flight, dead, stats flat, counts flat, workers flat,
         (ready, head or "", delayed, next due ms or "")*}
]]
--@include header

local sessions, in_flight = tonumber(ARGV[1]), 0
for i = 1, sessions do in_flight = in_flight + redis.call('HLEN', KEYS[5 + i]) end
local reply = {
  now_ms(), in_flight, redis.call('ZCARD', KEYS[2]), redis.call('HGETALL', KEYS[3]),
  redis.call('HGETALL', KEYS[4]), redis.call('HGETALL', KEYS[5]),
}
for k = 5 + sessions, #KEYS - 3, 3 do
  local head = redis.call('ZRANGE', KEYS[k + 2], 0, 0, 'WITHSCORES')
  reply[#reply + 1] = redis.call('LLEN', KEYS[k + 1])
  reply[#reply + 1] = string.sub(redis.call('LINDEX', KEYS[k + 1], 0) or '', 1, 51)
  reply[#reply + 1] = redis.call('ZCARD', KEYS[k + 2])
  reply[#reply + 1] = head[2] or ''
end
return reply
