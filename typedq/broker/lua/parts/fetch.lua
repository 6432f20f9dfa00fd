-- Messages from the head of a list into a session's hands. What was lost before ends the batch,
-- and so does about 1 MiB, by the head's size: large replies cost more than all of their parts.
-- needs: message; `odd` takes what is no message, at last. HLEN: without a hash nothing is taken.

local function fetch(list, flight, wanted, reply, odd)
  local head = redis.call('HLEN', flight) and redis.call('LINDEX', list, 0) or ''
  local popped = redis.call('LPOP', list, math.min(wanted, math.ceil(2^20 / (#head + 1)))) or {}
  local held, odds, last = {}, {}, #popped
  for i, m in ipairs(popped) do
    if not is_message(m) then
      odds[#odds + 1] = i
    else
      reply[#reply + 1] = m
      held[#held + 1], held[#held + 2] = id_of(m), m
      wanted = wanted - 1
      if is_lost_before(m) then wanted, last = 0, i break end
    end
  end
  for i = #popped, last + 1, -1 do redis.call('LPUSH', list, popped[i]) end
  if #held > 0 then redis.call('HSET', flight, unpack(held)) end
  for _, i in ipairs(odds) do odd(popped[i], i) end
  return wanted
end
