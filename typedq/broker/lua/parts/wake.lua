-- One token at most lies on a queue's wake list; a worker that takes it owes the queue a look.

local function plant(wake)
  if redis.pcall('LLEN', wake) == 0 then redis.call('RPUSH', wake, '1') end
end

-- The baton: whoever leaves something behind in a queue leaves a token there too.
local function pass_on(ready, wake)
  if redis.call('EXISTS', ready, wake) ~= 1 then return end -- as it should be
  if redis.call('DEL', wake) == 0 then redis.call('RPUSH', wake, '1') end
end
