-- Header fields after the fixed-width part. Needs: header, message

local function contract_of(m) return string.match(m, '^[^ ]+', 53) end
local function queue_of(m) return string.match(m, '^[^ ]+ ([^ ]+)', 53) end

-- A supervisor's copy of a broadcast does not count as waiting.
local function is_broadcast(m) return string.find(m, '^[^ ]+ _', 53) end
local function no_longer_waits(counts, m)
  if is_message(m) and not is_broadcast(m) then count(counts, contract_of(m), -1) end
end
