-- The header's fixed places: 1 version, 3 crashes, 5-6 losses, 8-10 attempts, 12-24 due, 26-51 id.

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function id_of(m) return string.sub(m, 26, 51) end
local function contract_of(m) return string.match(m, '^[^ ]+', 53) end
local function queue_of(m) return string.match(m, '^[^ ]+ ([^ ]+)', 53) end
local function is_lost_before(m) return string.sub(m, 2, 7) ~= ' 0 00 ' end
local function with_due(m, due)
  return string.sub(m, 1, 11) .. string.format('%013d', due) .. string.sub(m, 25)
end

-- Where somebody spoiled a count, it is the count that is given up, not the message.
local function count(counts, field, by) redis.pcall('HINCRBY', counts, field, by) end

-- Messages of one call differ in little but id and payload: what was seen is not read again.
local HEAD = '^[1-9] %d %d%d %d%d%d ' .. string.rep('%d', 13) .. ' $'
local heads, kind = {}, nil
local function is_message(m)
  local head, _, id_ends = string.sub(m, 1, 25), string.find(m, '^%x+ ', 26)
  heads[head] = heads[head] or string.find(head, HEAD)
  if not heads[head] or id_ends ~= 52 then return false end
  if not kind or string.sub(m, 53, 52 + #kind) ~= kind then
    local found = string.match(m, '^[%l%d_.-]+@%x+ [%l%d_.-]+ [^ ]+ ', 53)
    if not found then return false end
    kind = found
  end
  return #m > 52 + #kind
end

-- A broadcast in one supervisor's hands: it never counted as waiting.
local function is_broadcast(m) return string.find(m, '^[^ ]+ _', 53) end
local function no_longer_waits(counts, m)
  if is_message(m) and not is_broadcast(m) then count(counts, contract_of(m), -1) end
end
