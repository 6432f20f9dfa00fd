-- Header fields after the fixed-width part. Needs: header, message

local function contract_of(m) return string.match(m, '^[^ ]+', 53) end
local function queue_of(m) return string.match(m, '^[^ ]+ ([^ ]+)', 53) end

-- A supervisor's copy of a broadcast does not count as waiting.
local function is_broadcast(m) return string.find(m, '^[^ ]+ _', 53) end
local function no_longer_waits(counts, m)
  if is_message(m) and not is_broadcast(m) then count(counts, contract_of(m), -1) end
end

-- A message in flight that was cancelled has a "-" behind its version, and never waits again.
local function is_cancelled(m) return string.byte(m, 2) == 45 end
local function marked(m) return string.sub(m, 1, 1) .. '-' .. string.sub(m, 3) end
local function unmarked(m)
  return is_cancelled(m) and string.sub(m, 1, 1) .. ' ' .. string.sub(m, 3) or m
end
local function end_as(outcome, counts, stats, m)
  count(stats, outcome, 1)
  no_longer_waits(counts, unmarked(m))
end
local function end_cancelled(counts, stats, m) end_as('cancelled', counts, stats, m) end
