-- When a cron entry was resumed (ms); minus when it was paused; 0 for neither, or if unreadable.

local function resumed_ms(paused, entry)
  local ms = tonumber(redis.call('HGET', paused, entry) or '') or 0
  return math.abs(ms) < 1e14 and ms or 0
end
