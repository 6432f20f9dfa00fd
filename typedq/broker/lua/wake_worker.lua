#!lua flags=allow-oom
--[[ wake_worker: end the wait of a worker that has something else to do, by a token of its own.

Guarantee: nobody else waits for it, and no queue's token is touched. If the wait was over already,
the next one ends at once; if there is none, it expires.

KEYS    1 the worker's own wake token
ARGV    1 its time to live (s)
returns 1
]]
redis.call('DEL', KEYS[1])
redis.call('RPUSH', KEYS[1], '1')
return redis.call('EXPIRE', KEYS[1], ARGV[1])
