-- Dead letters are bounded by count and age; evicted ones are counted.
-- Needs: message; `bounds` = {set key, letters key, stats key, max count, max age (ms)}

local function add_dead_letter(bounds, id, message, reason)
  local now = now_ms()
  redis.call('ZADD', bounds[1], now, id)
  redis.call('HSET', bounds[2], id, reason .. '\n' .. message)
  count(bounds[3], 'dead', 1)
  local oldest = now - bounds[5]
  local evicted = redis.call('ZRANGE', bounds[1], '-inf', oldest, 'BYSCORE', 'LIMIT', 0, 100)
  local over = math.min(redis.call('ZCARD', bounds[1]) - #evicted - bounds[4], 100)
  local more = over > 0 and redis.call('ZRANGE', bounds[1], #evicted, #evicted + over - 1) or {}
  for _, old in ipairs(more) do evicted[#evicted + 1] = old end
  if #evicted > 0 then
    redis.call('ZREM', bounds[1], unpack(evicted))
    redis.call('HDEL', bounds[2], unpack(evicted))
    count(bounds[3], 'dead_dropped', #evicted)
  end
end
