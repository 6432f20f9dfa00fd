-- Messages from the head of the first list that has any, into a session's hands, and as one list
-- into `reply`; answers the key or nil, and how many are still wanted. What was lost before or is
-- of a later format, and about 1 MiB, end the batch.
-- needs: message; `dead` and `reason` are for what is no message, once the others are safe

local function fetch(lists, flight, wanted, reply, dead, reason)
  local many = #lists
  if many == 0 or wanted <= 0 then return nil, wanted end
  local from = {many, unpack(lists)}
  from[many + 2], from[many + 3], from[many + 4] = 'LEFT', 'COUNT', wanted
  local got = redis.call('LMPOP', unpack(from))
  if not got then return nil, wanted end
  local list, popped, strays = got[1], got[2], nil
  local held, n, last, bytes = {unpack(popped)}, 0, #popped, 0
  for i = 1, #popped do
    local m = popped[i]
    local whole, odd = is_message(m)
    bytes = bytes + #m
    if whole then
      held[n + 1], held[n + 2], n = id_of(m), m, n + 2
    else
      strays = strays or {}
      strays[#strays + 1] = m
    end
    if odd or bytes > 2^20 then wanted, last = 0, i break end
  end
  local failed = n > 0 and type(redis.pcall('HSET', flight, unpack(held, 1, n))) == 'table'
  for i = #popped, failed and 1 or last + 1, -1 do redis.call('LPUSH', list, popped[i]) end
  if failed then redis.call('HSET', flight, '', '') end -- says what is wrong with that key
  if n < 2 * #popped then -- else what was popped is what is held
    popped = {}
    for i = 2, n, 2 do popped[i / 2] = held[i] end
  end
  if n > 0 then reply[#reply + 1] = popped end
  if strays then
    --@include bury
    for i, m in ipairs(strays) do bury(dead, redis.sha1hex(m .. now_ms() .. i), m, reason) end
  end
  return list, wanted - last
end
