-- Delayed messages: first due, first out. Needs: wake

local function delay(delayed, message, due, supervisors)
  redis.call('ZADD', delayed, due, message)
  -- supervisors sleep until the message that was next when they looked
  if redis.call('ZRANK', delayed, message) == 0 then add_token(supervisors) end
end

local function promote(ready, delayed, now, most)
  local due = redis.call('ZRANGE', delayed, '-inf', now, 'BYSCORE', 'LIMIT', 0, most)
  if #due > 0 then
    redis.call('RPUSH', ready, unpack(due))
    redis.call('ZREM', delayed, unpack(due))
  end
  return #due
end
