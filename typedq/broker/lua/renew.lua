#!lua flags=allow-oom
--[[ renew: extend the leases of one supervisor's sessions, and tell that it lives.

Guarantee: a session that was ended stays ended; it is named in the reply.

KEYS    1 sessions  2 pardoned  3 workers
ARGV    1 lease (ms)  2 supervisor  3 what it says of itself or '' if it leaves, then session*
returns {1 if the server had not heard of this supervisor, else 0, session that has ended*}
]]
--@include header

local until_ms, told = now_ms() + tonumber(ARGV[1]), {0}
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[3], ARGV[2])
else
  told[1] = redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
end
for i = 4, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('ZADD', KEYS[1], 'XX', until_ms, ARGV[i])
    redis.call('SREM', KEYS[2], ARGV[i])
  else
    told[#told + 1] = ARGV[i]
  end
end
return told
