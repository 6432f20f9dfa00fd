#!lua flags=allow-oom
--[[ sessions: which sessions there are, with their leases. Changes nothing.

KEYS    1 sessions  2 session queues
ARGV    none
returns {(session, lease's end in server ms, queues)*}
]]

local reply = {}
local all = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #all, 2 do
  reply[#reply + 1] = all[i]
  reply[#reply + 1] = all[i + 1]
  reply[#reply + 1] = redis.call('HGET', KEYS[2], all[i]) or ''
end
return reply
