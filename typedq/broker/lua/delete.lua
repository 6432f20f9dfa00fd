#!lua flags=allow-oom
--[[ delete: drop dead letters for good.

Guarantee: only the letters named.

KEYS    1 dead  2 dead letters
ARGV    id* (at most 500)
returns number dropped
]]

redis.call('HDEL', KEYS[2], unpack(ARGV))
return redis.call('ZREM', KEYS[1], unpack(ARGV))
