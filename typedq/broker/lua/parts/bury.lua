-- Dead letters are bounded by count and age; what falls out is counted.
-- needs: message; `dead` = {set key, letters key, stats key, most, oldest ms}

local function bury(dead, id, message, reason, now)
  redis.call('ZADD', dead[1], now, id)
  redis.call('HSET', dead[2], id, reason .. '\n' .. message)
  count(dead[3], 'dead', 1)
  local out = redis.call('ZRANGE', dead[1], '-inf', now - dead[5], 'BYSCORE', 'LIMIT', 0, 100)
  local over = redis.call('ZCARD', dead[1]) - #out - dead[4]
  if over > 0 then
    for _, old in ipairs(redis.call('ZRANGE', dead[1], #out, #out + math.min(over, 100) - 1)) do
      out[#out + 1] = old
    end
  end
  if #out > 0 then
    redis.call('ZREM', dead[1], unpack(out))
    redis.call('HDEL', dead[2], unpack(out))
    count(dead[3], 'dead_dropped', #out)
  end
end
