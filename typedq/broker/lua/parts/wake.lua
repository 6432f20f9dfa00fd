-- A queue's wake list holds one token at most. The worker that takes it must check the queue.

local function add_token(wake)
  if redis.pcall('LLEN', wake) == 0 then redis.call('RPUSH', wake, '1') end
end

-- Leave a token if messages are left in the queue, and none if it is empty.
local function pass_token(ready, wake)
  if redis.call('EXISTS', ready, wake) ~= 1 then return end -- nothing to do
  if redis.call('DEL', wake) == 0 then redis.call('RPUSH', wake, '1') end
end
