#!lua flags=allow-oom
--[[ delayed_stats: the last due time of each queue, and the size of each parked group.
Changes nothing; costs O(queues + groups).

KEYS    delayed of each queue, then parked of each group
ARGV    1 number of queues
returns {last due ms or "" per queue, number of messages per group}
]]

local reply, queues = {}, tonumber(ARGV[1])
for k = 1, queues do
  reply[k] = redis.call('ZRANGE', KEYS[k], -1, -1, 'WITHSCORES')[2] or ''
end
for k = queues + 1, #KEYS do reply[k] = redis.call('LLEN', KEYS[k]) end
return reply
