-- What waits for its time: first due is first out.
-- needs: wake

local function delay(delayed, message, due, supervisors)
  redis.call('ZADD', delayed, due, message)
  -- they sleep until what they knew to be next
  if redis.call('ZRANK', delayed, message) == 0 then plant(supervisors) end
end

local function promote(ready, delayed, now, most)
  local due = redis.call('ZRANGE', delayed, '-inf', now, 'BYSCORE', 'LIMIT', 0, most)
  if #due > 0 then
    redis.call('RPUSH', ready, unpack(due))
    redis.call('ZREM', delayed, unpack(due))
  end
  return #due
end
