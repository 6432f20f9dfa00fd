#!lua flags=allow-oom
--[[ wake_worker: end the BLPOP of one worker by a token of its own.

Guarantee: no other worker waits for that token, and no queue's token is touched. If the worker
no longer waits, its next wait ends at once; if there is none, the token expires.

KEYS    1 the worker's own wake token
ARGV    1 its time to live (s)
returns 1
]]
redis.call('DEL', KEYS[1])
redis.call('RPUSH', KEYS[1], '1')
return redis.call('EXPIRE', KEYS[1], ARGV[1])
