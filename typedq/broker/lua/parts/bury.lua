-- Dead letters are bounded by count and age; what falls out is counted.
-- needs: message; `dead` = {set key, letters key, stats key, most, oldest ms}

local function bury(dead, id, message, reason)
  local now = now_ms()
  redis.call('ZADD', dead[1], now, id)
  redis.call('HSET', dead[2], id, reason .. '\n' .. message)
  count(dead[3], 'dead', 1)
  local out = redis.call('ZRANGE', dead[1], '-inf', now - dead[5], 'BYSCORE', 'LIMIT', 0, 100)
  local over = math.min(redis.call('ZCARD', dead[1]) - #out - dead[4], 100)
  local more = over > 0 and redis.call('ZRANGE', dead[1], #out, #out + over - 1) or {}
  for _, old in ipairs(more) do out[#out + 1] = old end
  if #out > 0 then
    redis.call('ZREM', dead[1], unpack(out))
    redis.call('HDEL', dead[2], unpack(out))
    count(dead[3], 'dead_dropped', #out)
  end
end
