#!lua flags=allow-oom
--[[ renew: extend the leases of one supervisor's sessions, and record that it is alive.

Guarantee: a session that has ended stays ended, and the reply names it. `seen_ms` is the
server's clock.

KEYS    1 sessions  2 lease extended  3 workers
ARGV    1 lease (ms)  2 supervisor  3 its report (a JSON object), or '' if it exits; then session*
returns {1 if the supervisor is new in workers else 0, session that has ended*}
]]
--@include header

local now, reply = now_ms(), {0}
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[3], ARGV[2])
else
  local about = string.format('{"seen_ms":%d,', now) .. string.sub(ARGV[3], 2)
  reply[1] = redis.call('HSET', KEYS[3], ARGV[2], about)
end
for i = 4, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('ZADD', KEYS[1], 'XX', now + tonumber(ARGV[1]), ARGV[i])
    redis.call('SREM', KEYS[2], ARGV[i])
  else
    reply[#reply + 1] = ARGV[i]
  end
end
return reply
