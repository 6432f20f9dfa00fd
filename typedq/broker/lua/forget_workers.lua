#!lua flags=allow-oom
--[[ forget_workers: drop what workers said of themselves that were not seen for long.

Guarantee: by this server's clock, which stamped them; what no worker wrote is dropped too.

KEYS    1 workers
ARGV    1 max age (ms)
returns number dropped
]]
--@include header

local oldest, dropped = now_ms() - tonumber(ARGV[1]), 0
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local seen = tonumber(string.match(all[i + 1], '^{"seen_ms":(%d+)') or 0)
  if seen < oldest then dropped = dropped + redis.call('HDEL', KEYS[1], all[i]) end
end
return dropped
