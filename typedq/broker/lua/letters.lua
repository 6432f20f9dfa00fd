#!lua flags=allow-oom
--[[ letters: read dead letters, youngest first. Changes nothing.

KEYS    1 dead  2 dead letters
ARGV    1 first place  2 last place
returns {(id, died at ms, reason and message)*}
]]

local reply = {}
local ids = redis.call('ZRANGE', KEYS[1], ARGV[1], ARGV[2], 'REV', 'WITHSCORES')
for i = 1, #ids, 2 do
  reply[#reply + 1] = ids[i]
  reply[#reply + 1] = ids[i + 1]
  reply[#reply + 1] = redis.call('HGET', KEYS[2], ids[i])
end
return reply
