-- Delayed messages: first due, first out. Needs: wake

local function delay(delayed, message, due, supervisors)
  redis.call('ZADD', delayed, due, message)
  -- supervisors sleep until the next due time they know; an earlier one must wake them
  if redis.call('ZRANK', delayed, message) == 0 then add_token(supervisors) end
end

local function promote(ready, delayed, now, max)
  local due = redis.call('ZRANGE', delayed, '-inf', now, 'BYSCORE', 'LIMIT', 0, max)
  if #due > 0 then
    redis.call('RPUSH', ready, unpack(due))
    redis.call('ZREM', delayed, unpack(due))
  end
  return #due
end
