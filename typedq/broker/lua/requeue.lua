#!lua
--[[ requeue: make dead letters ready again, with all counts reset.

Guarantee: a dead letter is removed in the step that makes it ready, so it is never both.

KEYS    1 dead  2 dead letters  3 counts; then per queue ready, delayed, wake
ARGV    1 number of queues, then queue*, then id* (at most 500)
returns {number requeued, id that is not a message of a known queue*}
]]
--@include header
--@include message
--@include fields
--@include wake

local queues, names, reply = {}, tonumber(ARGV[1]), {0}
for i = 1, names do queues[ARGV[1 + i]] = 3 + 3 * (i - 1) end
for i = 2 + names, #ARGV do
  local dead = redis.call('HGET', KEYS[2], ARGV[i])
  if dead then
    local m = string.match(dead, '\n(.*)$')
    local k = m and is_message(m) and queues[queue_of(m)]
    if k then
      local format = string.sub(m, 1, 1)
      redis.call('RPUSH', KEYS[k + 1], format .. ' 0 00 000 0000000000000' .. string.sub(m, 25))
      count(KEYS[3], contract_of(m), 1)
      redis.call('HDEL', KEYS[2], ARGV[i])
      redis.call('ZREM', KEYS[1], ARGV[i])
      add_token(KEYS[k + 3])
      reply[1] = reply[1] + 1
    else
      reply[#reply + 1] = ARGV[i]
    end
  end
end
return reply
