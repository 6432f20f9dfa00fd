-- One token at most lies on a queue's wake list; a worker that takes it owes the queue a look.

local function plant(wake)
  if redis.call('LLEN', wake) == 0 then redis.call('RPUSH', wake, '1') end
end

local function plant_if_first(delayed, due, supervisors)
  local head = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  if head[2] and tonumber(head[2]) >= due then plant(supervisors) end
end
