-- Move messages from the head of the first list that is not empty to in flight, and add them to
-- `reply`. Returns the key or nil, and how many are still wanted. The batch ends at about 1 MiB, or
-- after a message that must run alone or has a later format.
-- Needs: message. `bounds` and `reason` are for malformed messages, which are handled last.

local function fetch(lists, in_flight, wanted, reply, bounds, reason)
  local many = #lists
  if many == 0 or wanted <= 0 then return nil, wanted end
  local from = {many, unpack(lists)}
  from[many + 2], from[many + 3], from[many + 4] = 'LEFT', 'COUNT', wanted
  local got = redis.call('LMPOP', unpack(from))
  if not got then return nil, wanted end
  local list, popped, malformed = got[1], got[2], nil
  local held, n, last, bytes = {unpack(popped)}, 0, #popped, 0
  for i = 1, #popped do
    local m = popped[i]
    local is_good, is_last = is_message(m)
    bytes = bytes + #m
    if is_good then
      held[n + 1], held[n + 2], n = id_of(m), m, n + 2
    else
      malformed = malformed or {}
      malformed[#malformed + 1] = m
    end
    if is_last or bytes > 2^20 then wanted, last = 0, i break end
  end
  local failed = n > 0 and type(redis.pcall('HSET', in_flight, unpack(held, 1, n))) == 'table'
  for i = #popped, failed and 1 or last + 1, -1 do redis.call('LPUSH', list, popped[i]) end
  if failed then redis.call('HSET', in_flight, '', '') end -- raises the error of that key
  if n < 2 * #popped then -- else `popped` is what was put in flight
    popped = {}
    for i = 2, n, 2 do popped[i / 2] = held[i] end
  end
  if n > 0 then reply[#reply + 1] = popped end
  if malformed then
    --@include dead_letter
    for i, m in ipairs(malformed) do
      add_dead_letter(bounds, redis.sha1hex(m .. now_ms() .. i), m, reason)
    end
  end
  return list, wanted - last
end
