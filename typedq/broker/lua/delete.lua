#!lua flags=allow-oom
--[[ delete: delete dead letters.

Guarantee: only those named.

KEYS    1 dead  2 dead letters
ARGV    id* (at most 500)
returns number dropped
]]

redis.call('HDEL', KEYS[2], unpack(ARGV))
return redis.call('ZREM', KEYS[1], unpack(ARGV))
