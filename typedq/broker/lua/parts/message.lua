-- Check that bytes are a message. Needs: header

local function id_of(m) return string.sub(m, 26, 51) end
-- Messages of one call mostly share what is before the id, contract and queue, so these are cached.
-- Only the length of the id is checked here; the worker checks that it is hexadecimal.
local sub, find, match = string.sub, string.find, string.match
local HEAD = '^[1-9] %d %d%d %d%d%d %d%d%d%d%d%d%d%d%d%d%d%d%d '
local head, ends_batch, addressed = '1 0 00 000 0000000000000 ', false, '\n'

-- Return true for a message, and true if it must end a batch: it must run alone, because it crashed
-- or was lost twice, or it has a later format.
local function is_message(m)
  if find(m, head, 1, true) ~= 1 then
    local found = match(m, HEAD)
    if not found then return false end
    head, ends_batch = found, not find(found, '^[12] 0 0[01] ')
  end
  if find(m, ' ', 26, true) ~= 52 then return false end
  if find(m, addressed, 52, true) ~= 52 then
    local found = match(m, '^ [%l%d_.-]+@%x+ [%l%d_.-]+ ', 52)
    if not found then return false end
    addressed = found
  end
  local options = 52 + #addressed
  local payload = find(m, ' ', options, true)
  return payload and options < payload and payload < #m, ends_batch
end
