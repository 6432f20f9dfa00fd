-- The header's fixed places: 1 version, 3 crashes, 5-6 losses, 8-10 attempts, 12-24 due, 26-51 id.

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function with_due(m, due)
  return string.sub(m, 1, 11) .. string.format('%013d', due) .. string.sub(m, 25)
end

-- pcall: a counter of the wrong type must not stop the message.
local function count(counts, field, by) redis.pcall('HINCRBY', counts, field, by) end
