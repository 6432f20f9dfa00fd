#!lua flags=allow-oom
--[[ replace_session: move all messages of a session to a fresh id, after a reply was lost.

Guarantee: the old session ends, so the lost request changes nothing if it still arrives. Safe to
send twice.

KEYS    1 sessions  2 session queues  3 in flight of the old session  4 of the fresh one
        5 lease extended
ARGV    1 old session  2 fresh session  3 lease (ms)  4 queues, separated by spaces
returns {"kept" | "ended", message in flight*}; "ended": others had ended the old session
]]
--@include header

local kept = 'kept'
if not redis.call('ZSCORE', KEYS[1], ARGV[2]) then
  if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then kept = 'ended' end
  if redis.call('EXISTS', KEYS[3]) == 1 then redis.call('RENAME', KEYS[3], KEYS[4]) end
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('SREM', KEYS[5], ARGV[1])
  redis.call('HSET', KEYS[2], ARGV[2], ARGV[4])
  redis.call('ZADD', KEYS[1], now_ms() + tonumber(ARGV[3]), ARGV[2])
end
return {kept, unpack(redis.call('HVALS', KEYS[4]))}
