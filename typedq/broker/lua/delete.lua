#!lua flags=allow-oom
--[[ delete: delete dead letters.

Guarantee: deletes only the given ids.

KEYS    1 dead  2 dead letters
ARGV    id* (at most 500)
returns number deleted
]]

redis.call('HDEL', KEYS[2], unpack(ARGV))
return redis.call('ZREM', KEYS[1], unpack(ARGV))
