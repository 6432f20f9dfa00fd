#!lua
--[[ requeue: give dead letters a new life, with no attempt counted against them.

Guarantee: a letter leaves the dead in the step that makes it ready, so it is never in both.

KEYS    1 dead  2 dead letters  3 counts; then per queue ready, delayed, wake
ARGV    1 number of queues, then queue*, then id* (at most 500)
returns {number revived, id that cannot be, being no message of a known queue*}
]]
--@include header
--@include message
--@include fields
--@include wake

local lines, names, reply = {}, tonumber(ARGV[1]), {0}
for i = 1, names do lines[ARGV[1 + i]] = 3 + 3 * (i - 1) end
for i = 2 + names, #ARGV do
  local letter = redis.call('HGET', KEYS[2], ARGV[i])
  if letter then
    local m = string.sub(letter, string.find(letter, '\n', 1, true) + 1)
    local k = is_message(m) and lines[queue_of(m)]
    if k then
      redis.call('RPUSH', KEYS[k + 1], '1 0 00 000 0000000000000' .. string.sub(m, 25))
      count(KEYS[3], contract_of(m), 1)
      redis.call('HDEL', KEYS[2], ARGV[i])
      redis.call('ZREM', KEYS[1], ARGV[i])
      plant(KEYS[k + 3])
      reply[1] = reply[1] + 1
    else
      reply[#reply + 1] = ARGV[i]
    end
  end
end
return reply
