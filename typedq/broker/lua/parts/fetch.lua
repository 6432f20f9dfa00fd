-- Messages from the head of the first list that has any, into a session's hands; answers that list
-- or nil, and how many are still wanted. What was lost before, and about 1 MiB, end the batch.
-- needs: message, bury; `dead` and `reason` are for what is no message, once the others are safe

local function fetch(lists, flight, wanted, reply, dead, reason)
  local from = {#lists, unpack(lists)}
  for _, word in ipairs({'LEFT', 'COUNT', wanted}) do from[#from + 1] = word end
  local list, popped = unpack(#lists > 0 and wanted > 0 and redis.call('LMPOP', unpack(from)) or {})
  if not list then return nil, wanted end
  local held, odds, last, bytes = {}, {}, #popped, 0
  for i, m in ipairs(popped) do
    local whole = is_message(m)
    local to = whole and reply or odds
    to[#to + 1], bytes = m, bytes + #m
    if whole then held[#held + 1], held[#held + 2] = id_of(m), m end
    if whole and is_lost_before(m) or bytes > 2^20 then wanted, last = 0, i break end
  end
  local failed = #held > 0 and type(redis.pcall('HSET', flight, unpack(held))) == 'table'
  for i = #popped, failed and 1 or last + 1, -1 do redis.call('LPUSH', list, popped[i]) end
  if failed then redis.call('HSET', flight, '', '') end -- says what is wrong with that key
  for i, m in ipairs(odds) do bury(dead, redis.sha1hex(m .. now_ms() .. i), m, reason) end
  return list, wanted - last
end
