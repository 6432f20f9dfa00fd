-- What is a message, and its id. Needs: header

local function id_of(m) return string.sub(m, 26, 51) end
-- Messages of one call differ in little but id and payload, so what was read is not read again. The
-- id is only told by its length here; the worker checks that it is hexadecimal.
local sub, find, match = string.sub, string.find, string.match
local HEAD = '^[1-9] %d %d%d %d%d%d %d%d%d%d%d%d%d%d%d%d%d%d%d '
local head, ends_batch, kind = '1 0 00 000 0000000000000 ', false, '\n'

-- Whether it is one; and if it is, whether it must end a batch: it crashed or was lost twice, so
-- that it must run alone, or it is of a later format.
local function is_message(m)
  if find(m, head, 1, true) ~= 1 then
    local found = match(m, HEAD)
    if not found then return false end
    head, ends_batch = found, not find(found, '^1 0 0[01] ')
  end
  if find(m, ' ', 26, true) ~= 52 then return false end
  if find(m, kind, 52, true) ~= 52 then
    local found = match(m, '^ [%l%d_.-]+@%x+ [%l%d_.-]+ [^ ]+ ', 52)
    if not found then return false end
    kind = found
  end
  return #m > 51 + #kind, ends_batch
end
